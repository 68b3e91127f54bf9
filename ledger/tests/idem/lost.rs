//! A ledger whose file is gone: nothing runs again in silence.

use std::fs;

use crate::desk::Desk;

#[test]
fn a_deleted_ledger_runs_nothing_again_until_that_is_accepted() {
    let desk = Desk::new();
    let charge = |desk: &Desk| desk.exec("order-17", &[], "echo charged | tee -a effects");
    assert_eq!(charge(&desk).code, 0);
    fs::remove_file(desk.ledger()).unwrap();
    let refused = charge(&desk);
    assert_eq!((refused.code, desk.effects()), (74, 1), "{refused:?}");
    assert!(refused.err.contains("idem accept-rollback"), "{refused:?}");
    for words in [
        &["ls"][..],
        &["show", "order-17"],
        &["stats"],
        &["forget", "order-17"],
        &["sweep"],
        &["check"],
        &["backup", "copy"],
    ] {
        let refused = desk.run(words);
        assert_eq!(refused.code, 74, "{words:?}: {refused:?}");
        assert!(refused.err.contains("is gone"), "{words:?}: {refused:?}");
    }
    assert!(!desk.ledger().exists());
    assert_eq!(desk.run(&["accept-rollback"]).code, 0);
    assert_eq!((charge(&desk).code, desk.effects()), (0, 2));
    assert_eq!((charge(&desk).code, desk.effects()), (0, 2));
}
