//! A coordinator's log of any records: decoding, starting from them, and shortening.

use co_core::{Gtid, Stamp};
use coco::log::Record;
use coco::protocol::{Coordinator, CoordinatorConfig, CoordinatorId, Epoch, GtidParts, SiteName};

use crate::chunks;

const ID: CoordinatorId = CoordinatorId(3);

/// What decodes is what was encoded; a coordinator starts from it or refuses; and from what it says
/// must be kept, another starts that knows the same commits.
pub(crate) fn run(input: &[u8]) {
    let mut records = Vec::new();
    for (_, bytes) in chunks::split(input) {
        if let Ok(record) = Record::decode(bytes) {
            assert_eq!(record.encode(), bytes, "{record:?} has two encodings");
            records.push(record);
        }
    }
    let mut effects = Vec::new();
    let recovered = Coordinator::recover(CoordinatorConfig::default(), ID, records, &mut effects);
    let Ok(coordinator) = recovered else {
        return;
    };
    let kept = coordinator.live_records();
    let again = Coordinator::recover(CoordinatorConfig::default(), ID, kept, &mut effects);
    match again {
        Ok(again) => {
            let known = |of: &Coordinator| of.transactions().map(|it| it.gtid).collect::<Vec<_>>();
            assert_eq!(
                known(&coordinator),
                known(&again),
                "the shortened log forgets"
            );
            assert!(again.epoch() > coordinator.epoch(), "an epoch came twice");
        }
        // The last epoch there is has just begun.
        Err(_) => assert_eq!(coordinator.epoch(), Epoch::LAST),
    }
}

/// Logs as coordinators write them.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let epoch = |number| Record::Epoch {
        coordinator: ID,
        epoch: Epoch::new(number).unwrap_or(Epoch::NONE),
    };
    let gtid = |number, counter| -> Gtid {
        let epoch = Epoch::new(number).unwrap_or(Epoch::NONE);
        GtidParts {
            coordinator: ID,
            epoch,
            counter,
        }
        .gtid()
    };
    let commit = |gtid, sites: &[&str]| Record::Commit {
        gtid,
        stamp: Stamp(7),
        sites: sites.iter().map(|name| SiteName::new(name)).collect(),
    };
    let logs = [
        vec![epoch(1)],
        vec![epoch(1), commit(gtid(1, 0), &["a", "zürich"]), epoch(2)],
        vec![
            epoch(1),
            commit(gtid(1, 0), &["a", "b"]),
            Record::End { gtid: gtid(1, 0) },
            commit(gtid(1, 1), &["a", "b", "c"]),
        ],
        vec![epoch(Epoch::LAST.number() - 1)],
        vec![epoch(Epoch::LAST.number())],
    ];
    let encode = |log: &Vec<Record>| {
        let records: Vec<Vec<u8>> = log.iter().map(Record::encode).collect();
        chunks::join(records.iter().map(|record| (0, record.as_slice())))
    };
    logs.iter().map(encode).collect()
}
