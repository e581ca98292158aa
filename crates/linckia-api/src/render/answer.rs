//! The answer to a written event: alone, in an array, or as a line of NDJSON.
//!
//! The end of the hot path: nothing is allocated but the body. What always holds: one answer per
//! event, in the request's order.

use bytes::{BufMut, BytesMut};
use linckia_model::{Answer, Level, Refusal};

use crate::json::{self, Object};
use crate::problem::Problem;
use crate::refusal;

/// Room for an answer with ids of usual length.
pub(crate) const ANSWER_BYTES: usize = 288;

const CREATED: u16 = 201;
const OK: u16 = 200;
const MIXED: u16 = 207;

/// 201 for what was written now, 200 for what had been.
pub(crate) fn status(answer: &Answer) -> u16 {
    if answer.duplicate { OK } else { CREATED }
}

pub(crate) fn write(out: &mut BytesMut, answer: &Answer, level: &Level) {
    let object = Object::open(out);
    members(object, answer, level);
}

fn members(mut object: Object<'_>, answer: &Answer, level: &Level) {
    object.text("eventId", &answer.event_id);
    object.text("region", answer.dot.origin.region());
    object.text("origin", answer.dot.origin.as_str());
    object.number("sequence", answer.dot.sequence);
    json::hex(object.member("hlc"), &answer.hlc.bits().to_be_bytes());
    object.number("version", answer.version);
    match level {
        Level::Local => object.text("ack", "local"),
        level => object.text("ack", &level.to_string()),
    }
    object.flag("duplicate", answer.duplicate);
    object.close();
}

/// Writes the answers to an array; the status of the whole.
pub(crate) fn write_array(
    out: &mut BytesMut,
    answers: &[Result<Answer, Refusal>],
    data: &str,
    level: &Level,
) -> u16 {
    let (mut written, mut refused) = (false, false);
    json::array(out, answers.iter().enumerate(), |out, (place, answer)| match answer {
        Ok(answer) => {
            written |= !answer.duplicate;
            write(out, answer, level);
        }
        Err(refusal) => {
            refused = true;
            refusal::problem_of(refusal, data).below(&format!("/{place}")).write(out);
        }
    });
    match (refused, written) {
        (true, _) => MIXED,
        (false, true) => CREATED,
        (false, false) => OK,
    }
}

/// Writes the answer to a line of NDJSON, and the line break.
pub(crate) fn write_line(out: &mut BytesMut, line: u64, answer: &Answer, level: &Level) {
    let mut object = Object::open(out);
    object.number("line", line);
    object.number("status", status(answer).into());
    members(object, answer, level);
    out.put_u8(b'\n');
}

/// Writes the refusal of a line of NDJSON, and the line break.
pub(crate) fn write_refused_line(out: &mut BytesMut, line: u64, problem: &Problem) {
    let mut object = Object::open(out);
    object.number("line", line);
    object.number("status", problem.status().into());
    problem.write(object.member("problem"));
    object.close();
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use linckia_model::{Dot, Hlc};

    use super::*;

    fn answer(duplicate: bool) -> Answer {
        Answer {
            event_id: Arc::from("e-1"),
            dot: Dot::parse("us-east-1.7f3a9c01d2e4b5a6:42").unwrap(),
            hlc: Hlc::from_bits(0xabc),
            version: 3,
            duplicate,
            created: false,
            entity_tag: None,
        }
    }

    const TEXT: &str = concat!(
        r#""eventId":"e-1","region":"us-east-1","origin":"us-east-1.7f3a9c01d2e4b5a6","#,
        r#""sequence":42,"hlc":"0000000000000abc","version":3,"ack":"local","duplicate":"#,
    );

    #[test]
    fn an_answer() {
        let mut out = BytesMut::new();
        write(&mut out, &answer(false), &Level::Local);
        assert_eq!(out, format!("{{{TEXT}false}}").as_bytes());
        out.clear();
        write_line(&mut out, 7, &answer(true), &Level::Local);
        assert_eq!(out, format!("{{\"line\":7,\"status\":200,{TEXT}true}}\n").as_bytes());
    }

    #[test]
    fn arrays_have_one_status() {
        let check = |answers: &[Result<Answer, Refusal>], expected| {
            let status = write_array(&mut BytesMut::new(), answers, "/eventData", &Level::Any);
            assert_eq!(status, expected);
        };
        check(&[Ok(answer(false)), Ok(answer(true))], CREATED);
        check(&[Ok(answer(true))], OK);
        check(&[], OK);
        check(&[Ok(answer(false)), Err(Refusal::IdReused(answer(false).dot))], MIXED);
    }
}
