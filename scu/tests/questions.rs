//! Questions to recorders (A8.7.1 to A8.7.3): each answer is that of its question.

mod common;

use common::{Centre, Pu, key};
use sightline_protocol::{
    ps::{PuToScu, RecordingAnswer, RecordingReply, RecordingRequest, ScuToPu},
    sm::{SmReply, SmRequest},
};

/// Asks a recorder, which answers; by which number it was asked.
async fn asked(centre: &Centre, pu: &mut Pu) -> u64 {
    let device = pu.id.clone();
    let ask = Box::new(RecordingRequest::Status);
    let request = SmRequest::Recording { device: device.clone(), ask };
    let answering = async {
        let number = match pu.next().await {
            ScuToPu::Recording(call) => call.request,
            other => panic!("{other:?} in place of a question"),
        };
        let result = Ok(RecordingReply::Done);
        pu.send(&PuToScu::Recorded(RecordingAnswer { request: number, result })).await;
        number
    };
    let (reply, number) = tokio::join!(centre.sm(&device, request), answering);
    assert_eq!(reply, Ok(SmReply::Recorded { reply: Box::new(RecordingReply::Done) }));
    number
}

/// A recorder that changes to another SCU may still be answering the one before.
#[tokio::test]
async fn no_two_scus_ask_by_the_same_number() {
    let centre = Centre::start().await;
    let (first, second) = (centre.scu().await, centre.scu().await);
    let mut one = Pu::registered(&centre, &first, key(1)).await;
    let mut another = Pu::registered(&centre, &second, key(2)).await;
    let of_first = asked(&centre, &mut one).await;
    assert_ne!(of_first, asked(&centre, &mut another).await);
    assert_ne!(of_first, asked(&centre, &mut one).await, "a number was used twice");
}
