//! The control protocol's lines, as a client that may be anybody sends them, and as a server that may be of another
//! version answers. The first byte says in what pieces they come.

use ami_run_catalog::control::{
    Line, MAX_LINE, Outcome, UNSUPPORTED, answer_line, parse_answer, parse_request, request_line,
};

pub fn control(bytes: &[u8]) {
    let Some((how, mut bytes)) = bytes.split_first() else { return };
    let step = usize::from(*how).max(1);
    let mut line = Line::default();
    while !bytes.is_empty() {
        let piece = bytes.get(..step).unwrap_or(bytes);
        match line.add(piece) {
            Ok(Some(taken)) => {
                assert!(taken > 0 && taken <= piece.len(), "a line ends where it ends");
                bytes = bytes.get(taken..).unwrap_or_default();
                request(line.bytes());
                answer(line.bytes());
                line = Line::default();
            }
            Ok(None) => bytes = bytes.get(piece.len()..).unwrap_or_default(),
            Err(_) => return,
        }
        assert!(line.bytes().len() < MAX_LINE, "a line is bounded");
    }
}

fn request(line: &[u8]) {
    match parse_request(line) {
        Ok(action) => {
            let again = request_line(action.clone()).expect("a request can be written");
            assert_eq!(parse_request(&again), Ok(action), "it is read as it was written");
        }
        Err(refusal) => {
            let is_error = matches!(&refusal, Outcome::Error { code, .. } if code == UNSUPPORTED);
            assert!(is_error, "a bad request is answered with {refusal:?}");
        }
    }
}

fn answer(line: &[u8]) {
    if let Ok(outcome) = parse_answer(line) {
        let again = answer_line(outcome.clone()).expect("an answer can be written");
        assert_eq!(parse_answer(&again).ok(), Some(outcome), "it is read as it was written");
    }
}
