//! Devices and their leases (A8.1).

use std::net::IpAddr;

use sightline_model::{DeviceKind, NatReport, PuId, PublicKey, ScuId, UnixMicros, UserId};
use sightline_protocol::ps::{Addresses, ChannelStatus, Registration};
use sqlx::QueryBuilder;
use tracing::instrument;

use crate::{Database, StorageError, from_json, pools::Backend, query, to_json, typed};

/// Leases renewed by one statement: PostgreSQL and SQLite bound the number of parameters.
const RENEW_CHUNK: usize = 400;

/// Repository of devices.
#[derive(Debug)]
pub struct Devices<'a>(pub(crate) &'a Database);

/// A registration to store.
#[derive(Debug, Clone)]
pub struct NewRegistration<'a> {
    /// What the device said; checked by the caller.
    pub registration: &'a Registration,
    /// Where its SCU sees it.
    pub observed: IpAddr,
    /// The SCU that gets the lease.
    pub scu: &'a ScuId,
    /// What CUs connect to at that SCU.
    pub scu_url: &'a str,
    /// When.
    pub now: UnixMicros,
    /// When the lease ends without renewal.
    pub lease_expires_at: UnixMicros,
}

/// A device as stored, with its owner.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow {
    /// Its id.
    pub pu: PuId,
    /// Its key.
    pub public_key: PublicKey,
    /// What a claim code must hash to.
    pub claim_hash: String,
    /// The claim code works although the device is bound.
    pub claim_unlocked: bool,
    /// What it says that it is.
    pub kind: DeviceKind,
    /// Its cameras.
    pub channels: Vec<ChannelStatus>,
    /// Where it can be reached.
    pub addresses: Addresses,
    /// Where its SCU sees it.
    pub observed: IpAddr,
    /// What CUs connect to at its SCU.
    pub scu_url: String,
    /// Number of its last registration.
    pub epoch: u64,
    /// When its lease ends.
    pub lease_expires_at: UnixMicros,
    /// Whose it is.
    pub owner: Option<UserId>,
}

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    pu: String,
    public_key: String,
    claim_hash: String,
    claim_unlocked: i64,
    kind: String,
    channels: String,
    addresses: String,
    observed: String,
    scu_url: String,
    epoch: i64,
    lease_expires_at: i64,
    owner: Option<String>,
}

impl TryFrom<Row> for DeviceRow {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            pu: typed(&row.pu, "device id")?,
            public_key: typed(&row.public_key, "device key")?,
            claim_hash: row.claim_hash,
            claim_unlocked: row.claim_unlocked != 0,
            kind: typed(&row.kind, "kind of device")?,
            channels: from_json(&row.channels, "list of channels")?,
            addresses: from_json(&row.addresses, "list of addresses")?,
            observed: typed(&row.observed, "observed address")?,
            scu_url: row.scu_url,
            epoch: u64::try_from(row.epoch).map_err(|_| StorageError::Corrupt("epoch"))?,
            lease_expires_at: UnixMicros(row.lease_expires_at),
            owner: row.owner.map(|o| typed(&o, "user id")).transpose()?,
        })
    }
}

/// Columns of [`Row`] from `device d LEFT JOIN binding b`, as a literal for `concat!`.
macro_rules! device_columns {
    () => {
        "SELECT d.pu, d.public_key, d.claim_hash, d.claim_unlocked, d.kind, d.channels,
             d.addresses,
             d.observed, d.scu_url, d.epoch, d.lease_expires_at, b.user_id AS owner "
    };
}
pub(crate) use device_columns;

/// SQL of an epoch, which the wire counts without a sign.
pub(crate) fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(-1)
}

impl Devices<'_> {
    /// Stores a registration and gives its SCU the lease: the new epoch. `None`: the id is known
    /// with another key, and nothing has changed.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.register", skip_all)]
    pub async fn register(&self, new: &NewRegistration<'_>) -> Result<Option<u64>, StorageError> {
        let r = new.registration;
        let row: Option<(i64,)> = query::rows!(
            write,
            one,
            self.0,
            (i64,),
            "INSERT INTO device (domain, pu, public_key, claim_hash, claim_unlocked, agent, channels,
                 addresses, observed, scu, scu_url, epoch, lease_expires_at, announced, first_seen,
                 registered_at, kind)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12, 1, $13, $13, $14)
             ON CONFLICT (domain, pu) DO UPDATE SET
                 claim_hash = excluded.claim_hash, claim_unlocked = excluded.claim_unlocked,
                 agent = excluded.agent, channels = excluded.channels,
                 addresses = excluded.addresses, observed = excluded.observed, scu = excluded.scu,
                 scu_url = excluded.scu_url, epoch = device.epoch + 1,
                 lease_expires_at = excluded.lease_expires_at, announced = 1,
                 registered_at = excluded.registered_at, kind = excluded.kind
             WHERE device.public_key = excluded.public_key
             RETURNING epoch",
            self.0.domain.as_str(),
            r.pu.as_str(),
            r.public_key.to_string(),
            r.claim.as_str(),
            i64::from(r.claim_unlocked),
            r.agent.as_str(),
            to_json(&r.channels),
            to_json(&r.addresses),
            new.observed.to_string(),
            new.scu.as_str(),
            new.scu_url,
            new.lease_expires_at.0,
            new.now.0,
            r.kind.as_str(),
        )?;
        row.map(|(e,)| u64::try_from(e).map_err(|_| StorageError::Corrupt("epoch"))).transpose()
    }

    /// A device and its owner.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.get", skip_all)]
    pub async fn get(&self, pu: &PuId) -> Result<Option<DeviceRow>, StorageError> {
        let row: Option<Row> = query::rows!(
            read,
            one,
            self.0,
            Row,
            concat!(
                device_columns!(),
                "FROM device d LEFT JOIN binding b ON b.domain = d.domain AND b.pu = d.pu
                 WHERE d.domain = $1 AND d.pu = $2"
            ),
            self.0.domain.as_str(),
            pu.as_str(),
        )?;
        row.map(DeviceRow::try_from).transpose()
    }

    /// Extends those leases of `scu` whose epoch is the last one. Gives the devices renewed, and
    /// those among them that had been announced as gone.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.renew", skip_all)]
    pub async fn renew(
        &self,
        scu: &ScuId,
        leases: &[(PuId, u64)],
        expires_at: UnixMicros,
    ) -> Result<(Vec<PuId>, Vec<PuId>), StorageError> {
        let (mut renewed, mut back) = (Vec::with_capacity(leases.len()), Vec::new());
        for chunk in leases.chunks(RENEW_CHUNK) {
            let came_back = self.update_leases(
                "UPDATE device SET announced = 1 WHERE announced = 0 AND 0 < ",
                scu,
                chunk,
                expires_at,
            );
            back.extend(came_back.await?);
            let extended =
                self.update_leases("UPDATE device SET lease_expires_at = ", scu, chunk, expires_at);
            renewed.extend(extended.await?);
        }
        Ok((renewed, back))
    }

    async fn update_leases(
        &self,
        head: &'static str,
        scu: &ScuId,
        leases: &[(PuId, u64)],
        expires_at: UnixMicros,
    ) -> Result<Vec<PuId>, StorageError> {
        // The parameter that follows `head` is a value in one statement and a formality in the other.
        let glue = if head.contains("WHERE") { " AND domain = " } else { " WHERE domain = " };
        macro_rules! run {
            ($engine:ty, $pool:expr) => {{
                let mut sql = QueryBuilder::<$engine>::new(head);
                sql.push_bind(expires_at.0).push(glue).push_bind(self.0.domain.as_str());
                sql.push(" AND scu = ")
                    .push_bind(scu.as_str())
                    .push(" AND (pu, epoch) IN (VALUES ");
                let mut rows = sql.separated(", ");
                for (pu, epoch) in leases {
                    rows.push("(").push_bind_unseparated(pu.as_str());
                    rows.push_unseparated(", ").push_bind_unseparated(signed(*epoch));
                    rows.push_unseparated(")");
                }
                sql.push(") RETURNING pu");
                sql.build_query_as::<(String,)>().fetch_all($pool).await
            }};
        }
        let rows = match &self.0.backend {
            Backend::Sqlite(pools) => run!(sqlx::Sqlite, &mut *pools.write().await?),
            Backend::Postgres(pools) => run!(sqlx::Postgres, pools.write()),
        }?;
        rows.into_iter().map(|(pu,)| typed(&pu, "device id")).collect()
    }

    /// Ends a lease. `false`: `epoch` is not the last one.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.release", skip_all)]
    pub async fn release(&self, pu: &PuId, epoch: u64) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE device SET lease_expires_at = 0, announced = 0
             WHERE domain = $1 AND pu = $2 AND epoch = $3",
            self.0.domain.as_str(),
            pu.as_str(),
            signed(epoch),
        )?;
        Ok(changed > 0)
    }

    /// Stores new addresses. `false`: `epoch` is not the last one.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.set_addresses", skip_all)]
    pub async fn set_addresses(
        &self,
        pu: &PuId,
        epoch: u64,
        addresses: &Addresses,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE device SET addresses = $4 WHERE domain = $1 AND pu = $2 AND epoch = $3",
            self.0.domain.as_str(),
            pu.as_str(),
            signed(epoch),
            to_json(addresses),
        )?;
        Ok(changed > 0)
    }

    /// Stores the state of the cameras. `false`: `epoch` is not the last one.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.set_channels", skip_all)]
    pub async fn set_channels(
        &self,
        pu: &PuId,
        epoch: u64,
        channels: &[ChannelStatus],
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE device SET channels = $4 WHERE domain = $1 AND pu = $2 AND epoch = $3",
            self.0.domain.as_str(),
            pu.as_str(),
            signed(epoch),
            to_json(&channels),
        )?;
        Ok(changed > 0)
    }

    /// Stores what the device has measured of the NATs in front of it. `false`: `epoch` is not the
    /// last one.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.set_nat", skip_all)]
    pub async fn set_nat(
        &self,
        pu: &PuId,
        epoch: u64,
        nat: &NatReport,
    ) -> Result<bool, StorageError> {
        let changed = query::execute!(
            self.0,
            "UPDATE device SET nat = $4 WHERE domain = $1 AND pu = $2 AND epoch = $3",
            self.0.domain.as_str(),
            pu.as_str(),
            signed(epoch),
            to_json(nat),
        )?;
        Ok(changed > 0)
    }

    /// What the device has measured of the NATs in front of it.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.nat", skip_all)]
    pub async fn nat(&self, pu: &PuId) -> Result<Option<NatReport>, StorageError> {
        let row: Option<(Option<String>,)> = query::rows!(
            read,
            one,
            self.0,
            (Option<String>,),
            "SELECT nat FROM device WHERE domain = $1 AND pu = $2",
            self.0.domain.as_str(),
            pu.as_str(),
        )?;
        let nat = row.and_then(|(nat,)| nat);
        nat.map(|nat| from_json(&nat, "report of NATs")).transpose()
    }

    /// Whether `epoch` is the last one of the device.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.is_current", skip_all)]
    pub async fn is_current(&self, pu: &PuId, epoch: u64) -> Result<bool, StorageError> {
        let row: Option<(i64,)> = query::rows!(
            read,
            one,
            self.0,
            (i64,),
            "SELECT epoch FROM device WHERE domain = $1 AND pu = $2 AND epoch = $3",
            self.0.domain.as_str(),
            pu.as_str(),
            signed(epoch),
        )?;
        Ok(row.is_some())
    }

    /// The claim code no longer works while the device is bound.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.lock_claim", skip_all)]
    pub async fn lock_claim(&self, pu: &PuId) -> Result<(), StorageError> {
        query::execute!(
            self.0,
            "UPDATE device SET claim_unlocked = 0 WHERE domain = $1 AND pu = $2",
            self.0.domain.as_str(),
            pu.as_str(),
        )?;
        Ok(())
    }

    /// Devices whose lease has run out since the last sweep. Each is given once, to one CMU.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.sweep", skip_all)]
    pub async fn sweep(&self, now: UnixMicros) -> Result<Vec<PuId>, StorageError> {
        let rows: Vec<(String,)> = query::rows!(
            write,
            all,
            self.0,
            (String,),
            "UPDATE device SET announced = 0
             WHERE domain = $1 AND announced = 1 AND lease_expires_at <= $2 RETURNING pu",
            self.0.domain.as_str(),
            now.0,
        )?;
        rows.into_iter().map(|(pu,)| typed(&pu, "device id")).collect()
    }
}
