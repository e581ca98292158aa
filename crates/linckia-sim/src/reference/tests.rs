//! Every ruling of `docs/fold.md`, as cases of a few lines:
//!
//! ```text
//! a1 put {"x":1}; b1 <a1 patch {"x":2}     the events, in order, one millisecond apart
//! = {"x":2}                                the document (`none`: there is none)
//! | a1 < b1: /x update                     every record, the root as a path written `.`
//! ^ 2: b1                                  instead of both: version and frontier
//! ```
//!
//! An event is named by its dot (`b2`: the second of origin `b`). It has seen its own origin and
//! what `<a1,c2` names. Further `~a1,c2` is its context, `@5` its milliseconds (`@5+1` with the
//! counter), `#i` or `#i.1` its identity, `!t` its event type, `%2` its epoch. `into` and `out` are
//! the operations on sets, a record that waits says `open` or what settled it. A case has to come
//! out the same however its events arrive.

use super::*;

mod policies;
mod random;

const WINDOW: u64 = 1000;

fn dot(name: &str) -> RefDot {
    let origin = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (origin.into(), name[origin.len()..].parse().unwrap())
}

fn dots(names: &str) -> BTreeSet<RefDot> {
    names.split(',').filter(|name| !name.is_empty()).map(dot).collect()
}

/// An event as a case writes it, the first word its dot, the last ones operation and data.
fn event(text: &str, at: u64) -> RefEvent {
    let (name, mut rest) = text.trim().split_once(' ').unwrap();
    let own = dot(name);
    let mut event = RefEvent {
        deps: BTreeMap::from([(own.0.clone(), own.1 - 1)]),
        dot: own,
        hlc: at << 16,
        ctx: None,
        identity: (name.to_owned(), 0),
        event_type: "changed".to_owned(),
        operation: RefOperation::Record,
        data: Value::Null,
        epoch: 0,
    };
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, "null"));
        event.operation = match (word.split_at(1), word) {
            (_, "put") => RefOperation::Put,
            (_, "patch") => RefOperation::Patch,
            (_, "delete") => RefOperation::Delete,
            (_, "add") => RefOperation::Increment,
            (_, "record") => RefOperation::Record,
            (_, "into") => RefOperation::Add,
            (_, "out") => RefOperation::Remove,
            ((mark, said), _) => {
                say(&mut event, mark, said);
                rest = after;
                continue;
            }
        };
        event.data = after.parse().unwrap();
        return event;
    }
}

fn say(event: &mut RefEvent, mark: &str, said: &str) {
    match mark {
        "<" => event.deps.extend(dots(said)),
        "~" => event.ctx = Some(dots(said)),
        "%" => event.epoch = said.parse().unwrap(),
        "!" => event.event_type = said.to_owned(),
        "#" => {
            let (id, place) = said.split_once('.').unwrap_or((said, "0"));
            event.identity = (id.to_owned(), place.parse().unwrap());
        }
        "@" => {
            let (at, counter) = said.split_once('+').unwrap_or((said, "0"));
            event.hlc = at.parse::<u64>().unwrap() << 16 | counter.parse::<u64>().unwrap();
        }
        _ => panic!("no mark of an event: {mark}{said}"),
    }
}

fn names(dots: &BTreeSet<RefDot>) -> String {
    let name = |(origin, sequence): &RefDot| format!("{origin}{sequence}");
    dots.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn written(record: &RefRecord) -> String {
    let winner = names(&BTreeSet::from([record.winner.clone()]));
    let mut line = format!("{} < {winner}:", names(&record.losers));
    for path in &record.paths {
        line = format!("{line} {}", if path.is_empty() { "." } else { path });
    }
    let kind = match record.kind {
        RefKind::UpdateUpdate => "update",
        RefKind::UpdateDelete => "delete",
        RefKind::IdReused => "reused",
    };
    match &record.status {
        RefStatus::Settled => format!("{line} {kind}"),
        RefStatus::Open => format!("{line} {kind} open"),
        RefStatus::SettledBy(by) => {
            format!("{line} {kind} settled by {}", names(&BTreeSet::from([by.clone()])))
        }
    }
}

/// The fold, the same for every rotation of the events and of their reverse.
fn folded(policies: &RefPolicies, mut events: Vec<RefEvent>) -> RefState {
    let state = fold_under(policies, &events, WINDOW);
    for _ in 0..2 {
        for _ in 0..events.len() {
            events.rotate_left(1);
            assert_eq!(fold_under(policies, &events, WINDOW), state);
        }
        events.reverse();
    }
    state
}

/// What a case expects, as it would have to be written.
fn outcome(policies: &RefPolicies, events: &str, covering: bool) -> String {
    let events = events.split(';').zip(1..);
    let state = folded(policies, events.map(|(text, at)| event(text, at)).collect());
    if covering {
        return format!("^ {}: {}", state.version, names(&state.frontier));
    }
    let value = state.value.map_or("none".to_owned(), |value| value.to_string());
    let records = state.records.iter().map(|record| format!(" | {}", written(record)));
    format!("= {value}{}", records.collect::<String>())
}

#[track_caller]
fn check(cases: &str) {
    check_under(&RefPolicies::new(), cases);
}

#[track_caller]
fn check_under(policies: &RefPolicies, cases: &str) {
    let (mut events, mut expected) = (String::new(), String::new());
    for line in cases.lines().map(str::trim).filter(|line| !line.starts_with("//")).chain(["-"]) {
        let outcomes = line.starts_with(['=', '^', '|']);
        if !expected.is_empty() && !outcomes {
            let covering = expected.starts_with('^');
            assert_eq!(outcome(policies, &events, covering), expected, "of {events}");
            (events, expected) = (String::new(), String::new());
        }
        let into = if outcomes { &mut expected } else { &mut events };
        *into = format!("{into} {line}").trim().to_owned();
    }
}

#[test]
fn no_events() {
    let state = fold(&[], WINDOW);
    assert_eq!((state.value, state.version), (None, 0));
    assert!(state.frontier.is_empty() && state.records.is_empty());
}

#[test]
fn order_is_by_hlc_then_origin_as_text_then_sequence() {
    check(
        r#"
        b1 @1 put {"x":1}; a1 @2 put {"x":2}
        = {"x":2} | b1 < a1: /x update
        a1 @1 put {"x":1}; b1 @1 put {"x":2}
        = {"x":2} | a1 < b1: /x update
        b1 @1+1 put {"x":2}; a1 @1 put {"x":1}
        = {"x":2} | a1 < b1: /x update
        // '-' lies before '.', and the end of a name before anything.
        us-east.x1 @1 put {"x":2}; us-east-1.x1 @1 put {"x":1}
        = {"x":2} | us-east-1.x1 < us-east.x1: /x update
        us-east1 @1 put {"x":2}; us1 @1 put {"x":1}
        = {"x":2} | us1 < us-east1: /x update
        // Sequences are numbers: the members of a transaction have one HLC.
        a10 @1 put {"x":2}; a9 @1 put {"x":1}
        = {"x":2}
        "#,
    );
}

#[test]
fn what_is_covered_is_superseded() {
    check(
        r#"
        a1 put {"x":1}; a2 put {"x":2}
        = {"x":2}
        a1 put {"x":1}; b1 <a1 put {"x":2}
        = {"x":2}
        a1 put {"x":1}; b1 put {"x":2}
        = {"x":2} | a1 < b1: /x update
        a1 put {"x":1}; b1 put {"x":1}
        = {"x":1} | a1 < b1: /x update
        // A context alone decides, even over the own origin.
        a1 put {"x":1}; b1 ~a1 put {"x":2}
        = {"x":2}
        a1 put {"x":1}; b1 <a1 ~ put {"x":2}
        = {"x":2} | a1 < b1: /x update
        a1 put {"x":1}; a2 ~ put {"x":2}
        = {"x":2} | a1 < a2: /x update
        "#,
    );
}

#[test]
fn a_third_event_meets_only_what_shows() {
    check(
        r#"
        a1 put {"x":1}; b1 put {"x":2}; c1 put {"x":3}
        = {"x":3} | a1 < b1: /x update | b1 < c1: /x update
        // b1 replaced a1 knowingly: a1 is no rival of c1.
        a1 put {"x":1}; b1 <a1 put {"x":2}; c1 put {"x":3}
        = {"x":3} | b1 < c1: /x update
        a1 put {"x":1}; b1 put {"x":2}; c1 <a1,b1 put {"x":3}
        = {"x":3} | a1 < b1: /x update
        a1 put {"x":1}; b1 put {"x":2}; c1 <a1 put {"x":3}
        = {"x":3} | a1 < b1: /x update | b1 < c1: /x update
        "#,
    );
}

#[test]
fn put_replaces_the_document() {
    check(
        r#"
        a1 put {"x":1,"y":{"z":2}}; b1 put {"x":3,"y":{"z":4}}
        = {"x":3,"y":{"z":4}} | a1 < b1: /x /y/z update
        // One path emptied makes the record one of a deletion.
        a1 put {"x":1,"y":{"z":2}}; b1 put {"x":3,"y":{"w":4}}
        = {"x":3,"y":{"w":4}} | a1 < b1: /x /y/z delete
        a1 put {"x":1,"y":{"z":2}}; b1 put {}
        = {} | a1 < b1: /x /y/z delete
        // Over patches: each on its own. After it, they meet it only where it says something.
        a1 patch {"x":1}; b1 patch {"y":2}; c1 put {"x":3}
        = {"x":3} | a1 < c1: /x update | b1 < c1: /y delete
        a1 patch {"x":1}; c1 put {"x":3}; b1 patch {"y":2}
        = {"x":3,"y":2} | a1 < c1: /x update
        // Null in a put is a value.
        a1 put {"x":null}
        = {"x":null}
        a1 put {"x":null}; b1 patch {"x":null}
        = {} | a1 < b1: /x delete
        "#,
    );
}

#[test]
fn absence_by_a_put_is_hidden_only_where_something_comes_back() {
    check(
        r#"
        a1 put {"x":1,"y":1}; a2 put {"z":1}; b1 put {"x":2}
        = {"x":2} | a2 < b1: /x /z delete
        a1 put {"x":1,"y":1}; a2 put {"z":1}; b1 <a2 put {"x":2}
        = {"x":2}
        a1 put {"x":1,"y":1}; a2 put {"z":1}; b1 patch {"x":{}}
        = {"x":{},"z":1} | a2 < b1: /x delete
        a1 put {"x":1,"y":1}; a2 put {"z":1}; b1 patch {"w":2}
        = {"w":2,"z":1}
        // It stays that of the put that emptied the path, whatever later put lacks the path too.
        a1 put {"x":1}; a2 put {}; b1 <a2 put {}; c1 <a2 patch {"x":2}
        = {"x":2}
        a1 put {"x":1}; a2 put {}; b1 <a2 put {}; c1 <b1 patch {"x":2}
        = {"x":2} | a2 < c1: /x delete
        "#,
    );
}

#[test]
fn delete_against_update() {
    check(
        r#"
        a1 put {"x":1}; b1 <a1 patch {"x":2}; c1 <a1 delete
        = none | b1 < c1: /x delete
        a1 put {"x":1}; b1 <a1 patch {"x":2}; c1 <b1 delete
        = none
        // An update that comes later recreates: the root and its paths had been taken away.
        a1 put {"x":1}; c1 <a1 delete; b1 <a1 patch {"x":2}
        = {"x":2} | c1 < b1: . /x delete
        a1 put {"x":1}; c1 <a1 delete; b1 <a1 put {"x":2,"y":3}
        = {"x":2,"y":3} | c1 < b1: . /x delete
        a1 put {"x":1}; c1 <a1 delete; b1 <a1 put {"y":3}
        = {"y":3} | c1 < b1: . delete
        a1 put {"x":1}; c1 <a1 delete; b1 <c1 put {"x":3}
        = {"x":3}
        a1 put {"x":1}; c1 <a1 delete; b1 <a1 patch {}
        = {} | c1 < b1: . delete
        "#,
    );
}

#[test]
fn delete_over_nothing() {
    check(
        r#"
        a1 delete
        = none
        a1 delete; b1 delete
        = none
        a1 delete; b1 delete
        ^ 2: a1 b1
        a1 delete; b1 put {}
        = {}
        // The absence stays that of the first, below the root too.
        a1 put {"x":1}; a2 delete; b1 delete; c1 <b1 put {"x":2}
        = {"x":2} | a2 < c1: . /x delete
        a1 put {"x":1}; a2 delete; b1 delete; c1 <a2 put {"x":2}
        = {"x":2}
        a1 put {"x":1}; a2 delete; b1 delete; c1 <a2 put {"x":2}
        ^ 4: b1 c1
        // So does an absence below what a delete empties.
        a1 put {"x":1,"y":1}; b1 <a1 patch {"x":null}; c1 <a1,b1 delete;
        d1 <a1,c1 put {"x":2,"y":2}
        = {"x":2,"y":2} | b1 < d1: /x delete
        "#,
    );
}

#[test]
fn patch_meets_only_its_paths() {
    check(
        r#"
        a1 put {"x":1,"y":{"z":1}}; b1 patch {"w":1}
        = {"w":1,"x":1,"y":{"z":1}}
        a1 put {"x":1,"y":{"z":1}}; b1 patch {"x":2}
        = {"x":2,"y":{"z":1}} | a1 < b1: /x update
        a1 put {"x":1,"y":{"z":1}}; b1 patch {"y":{"w":2}}
        = {"x":1,"y":{"w":2,"z":1}}
        a1 put {"x":1,"y":{"z":1}}; b1 patch {"x":[1,null]}
        = {"x":[1,null],"y":{"z":1}} | a1 < b1: /x update
        a1 put {"x":1,"y":{"z":1}}; b1 patch {}
        = {"x":1,"y":{"z":1}}
        a1 patch {"x":{"y":null}}
        = {"x":{}}
        "#,
    );
}

#[test]
fn null_in_a_patch() {
    check(
        r#"
        a1 put {"x":1,"y":{"w":2,"z":1}}; b1 patch {"x":null}
        = {"y":{"w":2,"z":1}} | a1 < b1: /x delete
        a1 put {"x":1,"y":{"w":2,"z":1}}; b1 <a1 patch {"x":null}
        = {"y":{"w":2,"z":1}}
        a1 put {"x":1,"y":{"w":2,"z":1}}; b1 patch {"y":null}
        = {"x":1} | a1 < b1: /y/w /y/z delete
        a1 put {"x":1,"y":{"w":2,"z":1}}; b1 patch {"y":{"w":null,"z":null}}
        = {"x":1,"y":{}} | a1 < b1: /y/w /y/z delete
        a1 put {"x":1}; b1 patch {"x":2,"y":null}; c1 <a1 patch {"x":null}
        = {} | a1 < b1: /x update | b1 < c1: /x delete
        // Of a path nobody ever set, null says nothing; a later value has nothing to hide.
        a1 patch {"x":null}; b1 patch {"x":1}
        = {"x":1}
        // Nor over an absence: that stays as it is, with everything below.
        a1 put {"y":{"z":1}}; b1 <a1 patch {"y":null}; c1 patch {"y":null};
        d1 <c1 patch {"y":{"z":3}}
        = {"y":{"z":3}} | b1 < d1: /y /y/z delete
        a1 put {"y":{"z":1}}; b1 <a1 patch {"y":null}; c1 patch {"y":null};
        d1 <b1 patch {"y":{"z":3}}
        = {"y":{"z":3}}
        // So does an absence below what it empties.
        a1 put {"y":{"z":1}}; b1 <a1 patch {"y":{"z":null}}; c1 <a1,b1 patch {"y":null};
        d1 <a1,c1 patch {"y":{"z":3}}
        = {"y":{"z":3}} | b1 < d1: /y/z delete
        "#,
    );
}

#[test]
fn scalar_replaced_by_object_and_back() {
    check(
        r#"
        a1 put {"x":1}; b1 patch {"x":{"y":2}}; c1 <a1 patch {"x":3}
        = {"x":3} | a1 < b1: /x update | b1 < c1: /x/y delete
        a1 put {"x":1}; b1 patch {"x":{"y":2}}; c1 <b1 patch {"x":3}
        = {"x":3} | a1 < b1: /x update
        // The scalar emptied what was below; an object over it leaves that absence as it is.
        a1 put {"x":1}; b1 <a1 patch {"x":{"y":2}}; c1 <b1 patch {"x":3}; d1 patch {"x":{"z":4}}
        = {"x":{"z":4}} | c1 < d1: /x update
        a1 put {"x":1}; b1 <a1 patch {"x":{"y":2}}; c1 <b1 patch {"x":3}; d1 patch {"x":{"y":4}}
        = {"x":{"y":4}} | c1 < d1: /x /x/y delete
        a1 put {"x":1}; b1 <a1 patch {"x":{"y":2}}; c1 <b1 patch {"x":3};
        d1 <c1 patch {"x":{"z":4}}; e1 <d1 patch {"x":{"y":5}}
        = {"x":{"y":5,"z":4}} | c1 < e1: /x/y delete
        // An array is a value.
        a1 put {"x":[{"y":1}]}; b1 patch {"x":{"y":2}}
        = {"x":{"y":2}} | a1 < b1: /x update
        "#,
    );
}

#[test]
fn the_empty_object_shows() {
    check(
        r#"
        a1 put {"x":{}}; b1 put {"x":{"y":1}}
        = {"x":{"y":1}} | a1 < b1: /x update
        a1 put {"x":{}}; b1 put {"x":{}}
        = {"x":{}} | a1 < b1: /x update
        a1 put {"x":{}}; b1 delete
        = none | a1 < b1: /x delete
        a1 put {"x":{}}; b1 patch {"x":1}
        = {"x":1} | a1 < b1: /x update
        a1 put {"x":{}}; b1 patch {"x":null}
        = {} | a1 < b1: /x delete
        a1 put {}; b1 put {"x":1}
        = {"x":1} | a1 < b1: . update
        // To fill it hides nothing, and it goes on under the patch's name.
        a1 put {"x":{}}; b1 patch {"x":{"y":1}}
        = {"x":{"y":1}}
        a1 put {"x":{}}; b1 patch {"x":{}}; c1 <b1 delete
        = none
        a1 put {"x":{}}; b1 patch {"x":{}}; c1 <a1 delete
        = none | b1 < c1: /x delete
        a1 put {"x":{}}; b1 add {"x":{}}; c1 <a1 delete
        = none | b1 < c1: /x delete
        // It shows again when its last member goes.
        a1 put {"x":{"y":1}}; a2 patch {"x":{"y":null}}; b1 delete
        = none | a2 < b1: /x delete
        "#,
    );
}

#[test]
fn counters_add_up() {
    check(
        r#"
        a1 add {"n":1}; b1 add {"n":2}; c1 add {"n":-4}
        = {"n":-1}
        a1 put {"n":5}; b1 add {"n":2}
        = {"n":7}
        a1 add {"m":{"n":0},"o":{}}
        = {"m":{"n":0},"o":{}}
        a1 add {"n":9223372036854775807}; b1 add {"n":1}
        = {"n":9223372036854775808}
        a1 add {"n":-9223372036854775808}; b1 add {"n":-1}; c1 add {"n":1}
        = {"n":-9223372036854775808}
        // Beyond the integers of JSON here it is shown as a float, and stays exact.
        a1 add {"n":18446744073709551615}; b1 add {"n":1}
        = {"n":1.8446744073709552e+19}
        a1 add {"n":18446744073709551615}; b1 add {"n":1}; c1 add {"n":-2}
        = {"n":18446744073709551614}
        // Over an absence it starts from 0.
        a1 put {"n":5}; a2 delete; b1 <a1 add {"n":1}
        = {"n":1} | a2 < b1: . /n delete
        a1 put {"n":5}; a2 delete; b1 <a2 add {"n":1}
        = {"n":1}
        "#,
    );
}

#[test]
fn a_reset_hides_a_counter() {
    check(
        r#"
        // The assertion is one record, the increments together another.
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 <a1 add {"n":2}; d1 patch {"n":9}
        = {"n":9} | a1 < d1: /n update | b1 c1 < d1: /n update
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 <a1 add {"n":2}; d1 <a1 patch {"n":9}
        = {"n":9} | b1 c1 < d1: /n update
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 <a1 add {"n":2}; d1 <a1,b1 patch {"n":9}
        = {"n":9} | c1 < d1: /n update
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 <a1 add {"n":2}; d1 <b1,c1 put {"n":9}
        = {"n":9} | a1 < d1: /n update
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 <a1 add {"n":2}; d1 <a1,b1,c1 put {"n":9}
        = {"n":9}
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 <a1 add {"n":2}; d1 <a1 delete
        = none | b1 c1 < d1: /n delete
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 <a1 patch {"n":{"m":1}}
        = {"n":{"m":1}} | b1 < c1: /n update
        // The same increments at two paths are one record, an empty object besides too.
        a1 add {"m":1,"n":1}; b1 add {"m":1,"n":1}; c1 put {"m":0}
        = {"m":0} | a1 b1 < c1: /m /n delete
        a1 add {"m":1,"n":1}; b1 add {"m":1}; c1 put {"m":0}
        = {"m":0} | a1 < c1: /n delete | a1 b1 < c1: /m update
        a1 add {"n":1,"o":{}}; b1 put {"n":0,"o":1}
        = {"n":0,"o":1} | a1 < b1: /n /o update
        // What was hidden counts no more; what comes later in order does.
        a1 put {"n":5}; b1 <a1 add {"n":1}; c1 put {"n":9}; d1 add {"n":1}
        = {"n":10} | a1 < c1: /n update | b1 < c1: /n update
        "#,
    );
}

#[test]
fn an_increment_without_effect() {
    check(
        r#"
        a1 put {"s":"x"}; b1 add {"s":1}
        = {"s":"x"} | b1 < a1: /s update
        a1 put {"s":"x"}; b1 <a1 add {"s":1}
        = {"s":"x"} | b1 < a1: /s update
        a1 put {"a":[1],"b":null,"f":1.0,"t":true}; b1 add {"a":1,"b":1,"f":1,"t":1}
        = {"a":[1],"b":null,"f":1.0,"t":true} | b1 < a1: /a /b /f /t update
        a1 put {"n":1e2}; b1 add {"n":1}
        = {"n":100.0} | b1 < a1: /n update
        a1 put {"o":{"p":1}}; b1 add {"o":1}
        = {"o":{"p":1}} | b1 < a1: /o update
        // An object does not replace a value: each leaf below is on record.
        a1 put {"s":"x"}; b1 add {"s":{"t":{"u":1},"v":1,"w":{}}}
        = {"s":"x"} | b1 < a1: /s/t/u /s/v update
        a1 put {"n":1}; b1 add {"n":{"m":1}}
        = {"n":1} | b1 < a1: /n/m update
        a1 add {"n":1}; b1 add {"n":1}; c1 add {"n":{"m":1}}
        = {"n":2} | c1 < a1: /n/m update
        // The rest of it has effect.
        a1 put {"n":1,"o":{"p":1},"s":"x"}; b1 add {"n":1,"o":{"p":1,"q":1},"s":1}
        = {"n":2,"o":{"p":2,"q":1},"s":"x"} | b1 < a1: /s update
        // No reset hides what had no effect.
        a1 put {"s":"x"}; b1 add {"s":1}; c1 <a1 put {"s":"y"}
        = {"s":"y"} | b1 < a1: /s update
        "#,
    );
}

#[test]
fn copies_of_increments_count_once() {
    check(
        r#"
        a1 #n add {"n":1}; b1 #n add {"n":1}
        = {"n":1}
        a1 #n add {"n":1}; b1 #n add {"n":1}
        ^ 1: a1 b1
        a1 #n @1 add {"n":1}; b1 #n @1001 add {"n":1}
        = {"n":1}
        a1 #n @1 add {"n":1}; b1 #n @1001+1 add {"n":1}
        = {"n":2}
        // The window runs from the copy before, whether that one counts or not.
        a1 #n @1 add {"n":1}; b1 #n @1000 add {"n":1}; c1 #n @2000 add {"n":1}
        = {"n":1}
        a1 #n @1 add {"n":1}; b1 #n @1000 add {"n":1}; c1 #n @2000 add {"n":1}
        ^ 1: a1 b1 c1
        // Another place in the batch is another event.
        a1 #n add {"n":1}; b1 #n.1 add {"n":1}
        = {"n":2}
        // A reset between the copies: the first is hidden, the second counts no more.
        a1 #n add {"n":1}; c1 put {"n":0}; b1 #n add {"n":1}
        = {"n":0} | a1 < c1: /n update
        a1 #n add {"n":1}; c1 <a1 put {"n":0}; b1 #n add {"n":1}
        = {"n":0}
        // What does not count asserts no object and meets nothing either.
        a1 #n add {"o":{"n":1}}; c1 <a1 delete; b1 #n add {"o":{"n":1}}
        = none
        a1 #n add {"n":1}; c1 <a1 put {"n":"x"}; b1 #n add {"n":1}
        = {"n":"x"}
        "#,
    );
}

#[test]
fn copies_that_set_values_apply_each() {
    check(
        r#"
        a1 #x put {"x":1}; c1 <a1 patch {"x":2}; b1 #x put {"x":1}
        = {"x":1} | c1 < b1: /x update
        a1 #x delete; c1 <a1 patch {"x":2}; b1 #x delete
        = none | c1 < b1: /x delete
        a1 #x put {"x":1}; b1 #x put {"x":1}
        = {"x":1} | a1 < b1: /x update
        a1 #x put {"x":1}; b1 #x put {"x":1}
        ^ 1: a1 b1
        "#,
    );
}

#[test]
fn an_id_used_again() {
    check(
        r#"
        a1 #i put {"x":1}; b1 #i <a1 put {"x":1}
        = {"x":1}
        a1 #i put {"x":1}; b1 #i <a1 put {"x":2}
        = {"x":2} | b1 < a1: reused
        a1 #i put {"x":1}; b1 #i <a1 patch {"x":1}
        = {"x":1} | b1 < a1: reused
        a1 #i put {"x":1}; b1 #i <a1 !moved put {"x":1}
        = {"x":1} | b1 < a1: reused
        a1 #i put {"x":1}; b1 #i <a1 @5000 put {"x":2}
        = {"x":2}
        // What accumulates does not apply; values that meet are on record besides.
        a1 #i put {"x":1}; b1 #i add {"x":1}
        = {"x":1} | b1 < a1: reused
        a1 #i put {"x":1}; b1 #i put {"x":2}
        = {"x":2} | a1 < b1: /x update | b1 < a1: reused
        // Against the latest counted copy before it.
        a1 #i put {"x":1}; b1 #i <a1 @5000 put {"x":2}; c1 #i <a1,b1 @5001 put {"x":1}
        = {"x":1} | c1 < b1: reused
        a1 #i @1 put {"x":1}; b1 #i <a1 @900 put {"x":2}; c1 #i <a1,b1 @1800 put {"x":2}
        = {"x":2} | b1 < a1: reused | c1 < a1: reused
        "#,
    );
}

#[test]
fn covering_through_a_later_copy() {
    check(
        r#"
        a1 #x put {"x":1}; b1 #x <a1 put {"x":1}; c1 <b1 patch {"x":2}
        ^ 2: c1
        // Hidden though it never saw the first: it saw the one that repeats it.
        a1 #x put {"x":1}; d1 put {"y":1}; b1 #x patch {"y":2}; c1 <b1,d1 put {"x":2}
        = {"x":2} | a1 < d1: /x delete | b1 < a1: reused | d1 < b1: /y update
        a1 #x patch {"x":1}; b1 #x patch {"y":1}; c1 <b1 put {"x":2}
        = {"x":2} | b1 < a1: reused
        // To have seen the earlier one does not cover the later.
        a1 #x put {"x":1}; b1 #x <a1 put {"x":1}; c1 <a1 patch {"x":2}
        = {"x":2} | b1 < c1: /x update
        // A copy does not cover what it repeats, nor itself, by being a copy.
        a1 #x put {"x":1}; b1 #x put {"x":1}
        ^ 1: a1 b1
        a1 ~a1 put {"x":1}
        ^ 1: a1
        a1 #x put {"x":1}; b1 #x ~b1 put {"x":1}
        ^ 1: a1 b1
        // An increment counted once is covered through the copy that did not count.
        a1 #n add {"n":1}; b1 #n add {"n":1}; c1 <b1 put {"n":0}
        = {"n":0}
        a1 #n add {"n":1}; b1 #n add {"n":1}; c1 <a1 put {"n":0}
        = {"n":0}
        a1 #n add {"n":1}; b1 #n add {"n":1}; c1 <a1 put {"n":0}
        ^ 2: b1 c1
        "#,
    );
}

#[test]
fn version_and_frontier() {
    check(
        r#"
        a1 put {"x":1}; a2 put {"x":1}
        ^ 2: a2
        a1 put {"x":1}; b1 put {"x":1}; c1 <a1 put {"x":1}
        ^ 3: b1 c1
        a1 put {"x":1}; a2 delete; a3 put {"x":1}
        ^ 3: a3
        a1 put {"x":1}; b1 delete
        ^ 2: a1 b1
        a1 put {"x":1}; a2 ~ put {"x":1}
        ^ 2: a1 a2
        a1 put {"x":1}; b1 <a1 add {"x":{"y":1}}
        ^ 2: b1
        a1 put {"x":1}; b1 <a1 record; c1 record
        ^ 3: b1 c1
        "#,
    );
}

#[test]
fn record_is_history_only() {
    check(
        r#"
        a1 record
        = none
        a1 delete; b1 record {"x":2}; c1 <a1 put {"x":1}
        = {"x":1}
        a1 #i record 1; b1 #i <a1 record 2
        = none | b1 < a1: reused
        a1 #i record 1; b1 #i <a1 record 2
        ^ 1: b1
        "#,
    );
}

#[test]
fn paths_are_pointers() {
    check(
        r#"
        a1 put {"":1,"a/b":{"~":2}}; b1 delete
        = none | a1 < b1: / /a~1b/~0 delete
        // A name that begins like another is not below it.
        a1 put {"a":{},"a!":1,"a/b":2}; b1 patch {"a":3}
        = {"a":3,"a!":1,"a/b":2} | a1 < b1: /a update
        "#,
    );
}
