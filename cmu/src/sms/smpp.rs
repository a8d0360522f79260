//! SMS through an SMSC by SMPP 3.4: one transceiver connection, kept up by a task.

use std::{collections::HashMap, str::FromStr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use rusmpp::{
    Command, CommandStatus, Pdu,
    pdus::{BindTransceiver, SubmitSm},
    tokio_codec::CommandCodec,
    types::{COctetString, OctetString},
    values::{DataCoding, InterfaceVersion, Npi, Ton},
};
use sightline_model::{PhoneNumber, Secret};
use sightline_service_kit::lifecycle::Lifecycle;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::codec::Framed;

use super::{SmsError, SmsGateway};
use crate::config::SmppGatewayConfig;

/// Messages that wait for the connection; more are refused with [`SmsError::Full`].
const QUEUE_LEN: usize = 64;
/// Octets of one short message.
const MAX_MESSAGE_BYTES: usize = 140;
const RECONNECT_FIRST: Duration = Duration::from_millis(500);
const RECONNECT_MOST: Duration = Duration::from_secs(30);

/// Hands messages to the task that owns the connection.
#[derive(Debug)]
pub struct SmppGateway {
    jobs: mpsc::Sender<Job>,
    timeout: Duration,
}

struct Job {
    to: COctetString<1, 21>,
    text: OctetString<0, 255>,
    coding: DataCoding,
    done: oneshot::Sender<Result<(), SmsError>>,
}

impl SmppGateway {
    /// Starts the task that keeps the connection.
    ///
    /// # Errors
    /// [`SmsError::Settings`].
    pub fn start(
        config: &SmppGatewayConfig,
        password: Secret<String>,
        lifecycle: &Lifecycle,
    ) -> Result<Self, SmsError> {
        let wrong = |what| SmsError::Settings(what);
        let link = Link {
            address: config.address.clone(),
            system_id: COctetString::from_str(&config.system_id)
                .map_err(|_| wrong("system_id must be at most 15 ASCII characters"))?,
            password: COctetString::from_str(password.expose())
                .map_err(|_| wrong("the password must be at most 8 ASCII characters"))?,
            source: COctetString::from_str(&config.source)
                .map_err(|_| wrong("source must be at most 20 ASCII characters"))?,
            source_ton: source_ton(&config.source),
            enquire_every: Duration::from_secs(config.enquire_link_s.max(1)),
            timeout: Duration::from_millis(config.timeout_ms),
        };
        let (jobs, receiver) = mpsc::channel(QUEUE_LEN);
        lifecycle.spawn(link.run(receiver));
        Ok(Self { jobs, timeout: Duration::from_millis(config.timeout_ms) })
    }
}

#[async_trait::async_trait]
impl SmsGateway for SmppGateway {
    async fn send(&self, phone: &PhoneNumber, text: &str) -> Result<(), SmsError> {
        let (bytes, coding) = encode_text(text);
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(SmsError::Settings("the text is longer than one short message"));
        }
        let (done, result) = oneshot::channel();
        let number = phone.expose().trim_start_matches('+');
        let job = Job {
            to: COctetString::from_str(number)
                .map_err(|_| SmsError::Settings("the number does not fit"))?,
            text: OctetString::try_from(bytes)
                .map_err(|_| SmsError::Settings("the text does not fit"))?,
            coding,
            done,
        };
        self.jobs.try_send(job).map_err(|_| SmsError::Full)?;
        match timeout(self.timeout, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SmsError::Unreachable("the connection was lost".into())),
            Err(_) => Err(SmsError::Timeout),
        }
    }
}

/// A sender of digits is a number; anything else is a name.
fn source_ton(source: &str) -> Ton {
    if source.bytes().all(|b| b.is_ascii_digit()) { Ton::International } else { Ton::Alphanumeric }
}

/// ASCII that the GSM alphabet has at the same place goes in the SMSC's default coding, all else
/// in UCS-2.
fn encode_text(text: &str) -> (Vec<u8>, DataCoding) {
    let same =
        |b: u8| matches!(b, b' '..=b'#' | b'%'..=b'?' | b'A'..=b'Z' | b'a'..=b'z' | b'\n' | b'\r');
    if text.bytes().all(same) {
        return (text.as_bytes().to_vec(), DataCoding::McSpecific);
    }
    (text.encode_utf16().flat_map(u16::to_be_bytes).collect(), DataCoding::Ucs2)
}

type Connection = Framed<TcpStream, CommandCodec>;
type Waiting = HashMap<u32, (oneshot::Sender<Result<(), SmsError>>, Instant)>;

struct Link {
    address: String,
    system_id: COctetString<1, 16>,
    password: COctetString<1, 9>,
    source: COctetString<1, 21>,
    source_ton: Ton,
    enquire_every: Duration,
    timeout: Duration,
}

impl Link {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut wait = RECONNECT_FIRST;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!("bound to the SMSC");
                    wait = RECONNECT_FIRST;
                    match self.work(connection, &mut jobs).await {
                        Ok(()) => return,
                        Err(error) => tracing::warn!(%error, "the SMSC's connection was lost"),
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot bind to the SMSC"),
            }
            // Whoever waits is told now rather than left to time out.
            while let Ok(job) = jobs.try_recv() {
                let error = SmsError::Unreachable("not connected".into());
                let _ = job.done.send(Err(error));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RECONNECT_MOST);
        }
    }

    async fn connect(&self) -> Result<Connection, SmsError> {
        let unreachable = |e: &dyn std::fmt::Display| SmsError::Unreachable(e.to_string());
        let stream = timeout(self.timeout, TcpStream::connect(&self.address))
            .await
            .map_err(|_| SmsError::Timeout)?
            .map_err(|e| unreachable(&e))?;
        stream.set_nodelay(true).map_err(|e| unreachable(&e))?;
        let mut connection = Framed::new(stream, CommandCodec::new());
        let bind = BindTransceiver::builder()
            .system_id(self.system_id.clone())
            .password(self.password.clone())
            .interface_version(InterfaceVersion::Smpp3_4)
            .addr_ton(Ton::Unknown)
            .addr_npi(Npi::Unknown)
            .build();
        connection.send(command(1, bind)).await.map_err(|e| unreachable(&e))?;
        let answer = timeout(self.timeout, connection.next()).await;
        match answer.map_err(|_| SmsError::Timeout)? {
            Some(Ok(answer)) => match (answer.status(), answer.pdu()) {
                (CommandStatus::EsmeRok, Some(Pdu::BindTransceiverResp(_))) => Ok(connection),
                (status, _) => Err(SmsError::Refused(format!("{status:?}"))),
            },
            Some(Err(error)) => Err(unreachable(&error)),
            None => Err(SmsError::Unreachable("closed while binding".into())),
        }
    }

    /// `Ok`: nobody will send any more.
    async fn work(
        &self,
        mut connection: Connection,
        jobs: &mut mpsc::Receiver<Job>,
    ) -> Result<(), SmsError> {
        let mut sequence = 1;
        let mut waiting = Waiting::new();
        let mut heard = Instant::now();
        let mut ticks = tokio::time::interval_at(heard + self.enquire_every, self.enquire_every);
        loop {
            tokio::select! {
                job = jobs.recv() => {
                    let Some(job) = job else { return Ok(()) };
                    sequence = next(sequence);
                    waiting.insert(sequence, (job.done, Instant::now()));
                    self.submit(&mut connection, sequence, job.to, job.text, job.coding).await?;
                }
                answer = connection.next() => {
                    let answer = answer.ok_or_else(lost)?.map_err(|e| SmsError::Unreachable(e.to_string()))?;
                    heard = Instant::now();
                    take(&mut connection, &mut waiting, answer).await?;
                }
                _ = ticks.tick() => {
                    if heard.elapsed() > self.enquire_every + self.timeout {
                        return Err(SmsError::Timeout);
                    }
                    waiting.retain(|_, (_, since)| since.elapsed() < self.timeout);
                    sequence = next(sequence);
                    send(&mut connection, command(sequence, Pdu::EnquireLink)).await?;
                }
            }
        }
    }

    async fn submit(
        &self,
        connection: &mut Connection,
        sequence: u32,
        to: COctetString<1, 21>,
        text: OctetString<0, 255>,
        coding: DataCoding,
    ) -> Result<(), SmsError> {
        let submit = SubmitSm::builder()
            .source_addr_ton(self.source_ton)
            .source_addr_npi(Npi::Unknown)
            .source_addr(self.source.clone())
            .dest_addr_ton(Ton::International)
            .dest_addr_npi(Npi::Isdn)
            .destination_addr(to)
            .data_coding(coding)
            .short_message(text)
            .build();
        send(connection, command(sequence, submit)).await
    }
}

fn lost() -> SmsError {
    SmsError::Unreachable("closed by the SMSC".into())
}

/// 1 to 0x7FFFFFFF (SMPP 3.4 section 3.2).
const fn next(sequence: u32) -> u32 {
    if sequence >= 0x7FFF_FFFF { 1 } else { sequence + 1 }
}

fn command(sequence: u32, pdu: impl Into<Pdu>) -> Command {
    Command::new(CommandStatus::EsmeRok, sequence, pdu)
}

async fn send(connection: &mut Connection, command: Command) -> Result<(), SmsError> {
    connection.send(command).await.map_err(|e| SmsError::Unreachable(e.to_string()))
}

async fn take(
    connection: &mut Connection,
    waiting: &mut Waiting,
    answer: Command,
) -> Result<(), SmsError> {
    let sequence = answer.sequence_number();
    match answer.pdu() {
        Some(Pdu::EnquireLink) => send(connection, command(sequence, Pdu::EnquireLinkResp)).await?,
        Some(Pdu::DeliverSm(_)) => {
            send(connection, command(sequence, rusmpp::pdus::DeliverSmResp::default())).await?;
        }
        Some(Pdu::Unbind) => {
            send(connection, command(sequence, Pdu::UnbindResp)).await?;
            return Err(SmsError::Unreachable("the SMSC has unbound us".into()));
        }
        Some(_) | None => {
            if let Some((done, _)) = waiting.remove(&sequence) {
                let result = match answer.status() {
                    CommandStatus::EsmeRok => Ok(()),
                    status => Err(SmsError::Refused(format!("{status:?}"))),
                };
                let _ = done.send(result);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_beyond_the_default_alphabet_go_in_ucs2() {
        assert_eq!(encode_text("Code 123456!"), (b"Code 123456!".to_vec(), DataCoding::McSpecific));
        assert_eq!(encode_text("码"), (vec![0x78, 0x01], DataCoding::Ucs2));
        // '@' and '$' stand elsewhere in the GSM alphabet.
        assert_eq!(encode_text("$").1, DataCoding::Ucs2);
    }
}
