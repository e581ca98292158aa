//! Rulings 16 to 29, in the words of the other cases; each epoch has the policy that is written.

use super::*;

fn policy(strategy: RefStrategy, fields: &[(&str, RefField)]) -> RefPolicy {
    let fields = fields.iter().map(|(pointer, kind)| ((*pointer).to_owned(), *kind)).collect();
    RefPolicy { strategy, regions: vec!["b".to_owned()], fields }
}

#[track_caller]
fn check_policy(policy: RefPolicy, cases: &str) {
    check_under(&RefPolicies::from([(1, policy)]), cases);
}

use RefStrategy::{
    DeleteWins, LastWriterWins, LastWriterWinsWhole, Manual, RegionPriority, UpdateWins,
};

#[test]
fn sets() {
    check_policy(
        policy(LastWriterWins, &[("/s", RefField::Set)]),
        r#"
        a1 %1 into {"s":["x",2]}; b1 %1 into {"s":["x"]}; c1 %1 <a1 out {"s":["x",2]}
        = {"s":["x"]}
        a1 %1 put {"s":["x"]}; b1 %1 into {"s":["y"]}; c1 %1 <a1 put {"s":[true]}
        = {"s":[true,"y"]}
        a1 %1 into {"s":["x"]}; b1 %1 <a1 out {"s":["x"]}
        = {"s":[]}
        a1 %1 into {"s":["x"]}; b1 %1 <a1 put {}
        = {}
        a1 %1 into {"s":["x"]}; b1 %1 delete
        = none | a1 < b1: /s delete
        a1 %1 put {"n":1}; b1 %1 <a1 into {"n":["x"]}; c1 %1 <a1 into {"o":{"p":["x"]}}
        = {"n":1} | b1 < a1: /n update | c1 < c1: /o/p update
        "#,
    );
}

#[test]
fn counters() {
    check_policy(
        policy(LastWriterWins, &[("/n", RefField::Counter)]),
        r#"
        a1 %1 add {"n":1}; b1 %1 add {"n":2}; c1 %1 <a1 put {"n":10}
        = {"n":12}
        a1 %1 put {"n":1}; b1 %1 put {"n":2}
        = {"n":2} | a1 < b1: /n update
        a1 %1 put {"n":1}; b1 %1 patch {"n":null}; c1 %1 <a1 patch {"n":null}
        = {}
        a1 %1 put {"n":1}; b1 %1 <a1 patch {"n":"x"}
        = {"n":1} | b1 < a1: /n update
        "#,
    );
}

#[test]
fn maps() {
    check_policy(
        policy(LastWriterWins, &[("/m", RefField::Map)]),
        r#"
        a1 %1 put {"m":{"k":1,"l":1}}; b1 %1 <a1 patch {"m":{"k":2}}; c1 %1 <a1 put {"m":{}}
        = {"m":{"k":2}}
        a1 %1 put {"m":{"k":1}}; b1 %1 <a1 put {"x":1}
        = {"x":1}
        a1 %1 patch {"m":{"k":1}}; b1 %1 patch {"m":{"k":2}}
        = {"m":{"k":2}} | a1 < b1: /m/k update
        "#,
    );
}

#[test]
fn numbers_and_flags() {
    check_policy(
        policy(LastWriterWins, &[("/x", RefField::Max), ("/f", RefField::Flag)]),
        r#"
        a1 %1 patch {"x":9}; b1 %1 <a1 patch {"x":5}
        = {"x":9}
        a1 %1 patch {"x":9}; b1 %1 <a1 patch {"x":5}; c1 %1 <a1 put {"x":1}
        = {"x":5}
        a1 %1 patch {"f":true}; b1 %1 patch {"f":false}
        = {"f":true} | b1 < a1: /f update
        a1 %1 patch {"f":false}; b1 %1 patch {"f":true}
        = {"f":true} | a1 < b1: /f update
        a1 %1 patch {"f":true}; b1 %1 <a1 patch {"f":false}
        = {"f":false}
        "#,
    );
}

#[test]
fn whole_documents() {
    check_policy(
        policy(LastWriterWinsWhole, &[]),
        r#"
        a1 %1 put {"m":1,"n":1}; b1 %1 <a1 patch {"m":2}; c1 %1 <a1 add {"n":5}
        = {"m":1,"n":6} | b1 < c1: . update
        a1 %1 put {"m":1}; b1 %1 delete; c1 %1 <a1 patch {"n":1}
        = {"m":1,"n":1} | a1 < b1: . delete | b1 < c1: . delete
        "#,
    );
    check_policy(
        policy(RegionPriority, &[]),
        r#"
        b1 %1 put {"x":1}; a1 %1 put {"x":2}
        = {"x":1} | a1 < b1: . update
        b1 %1 put {"x":1}; a1 %1 put {"x":2}; c1 %1 <b1 put {"x":3}
        = {"x":3} | a1 < b1: . update
        b1 %1 put {"x":1}; a1 %1 patch {"x":2}
        = {"x":1} | a1 < b1: . update
        "#,
    );
    let late = "a1 %1 put {\"x\":1}; b1 %1 <a1 delete; c1 %1 <a1 put {\"x\":2}";
    let deletes = format!("{late}\n= none | c1 < b1: . delete");
    check_policy(policy(DeleteWins, &[]), &deletes);
    let updates = format!("{late}\n= {{\"x\":2}} | b1 < c1: . delete");
    check_policy(policy(UpdateWins, &[]), &updates);
}

#[test]
fn a_person_is_asked() {
    check_policy(
        policy(Manual, &[]),
        r#"
        a1 %1 patch {"n":1}; b1 %1 patch {"n":2}
        = {"n":2} | a1 < b1: /n update open
        a1 %1 patch {"n":1}; b1 %1 patch {"n":2}; c1 %1 <a1,b1 patch {"m":1}
        = {"m":1,"n":2} | a1 < b1: /n update open
        a1 %1 patch {"n":1}; b1 %1 patch {"n":2}; c1 %1 <a1,b1 patch {"n":1}
        = {"n":1} | a1 < b1: /n update settled by c1
        "#,
    );
}

#[test]
fn a_change_of_policy() {
    let policies = RefPolicies::from([
        (1, policy(LastWriterWins, &[("/s", RefField::Set)])),
        (2, policy(DeleteWins, &[])),
    ]);
    check_under(
        &policies,
        r#"
        a1 put {"s":["x"],"t":"y"}; b1 %1 <a1 into {"s":["z"]}; a2 %1 out {"s":["x"]}
        = {"s":["z"],"t":"y"}
        a1 %1 into {"s":["z"]}; a2 %2 put {"n":1}; b1 %2 <a1 delete
        = none | a2 < b1: . delete
        "#,
    );
}
