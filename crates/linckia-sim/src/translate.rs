//! Events of the implementation as events of the reference, and its states as the reference's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use linckia_model::{
    Dot, Event, FieldKind, KeyState, Kind, Operation, Policy, Record, RecordKey, Stamp, Status,
    Strategy,
};

use crate::reference::{
    RefDot, RefEvent, RefField, RefKind, RefOperation, RefPolicy, RefRecord, RefStatus, RefStrategy,
};

#[cfg(test)]
mod tests;

pub(crate) fn dot(dot: &Dot) -> RefDot {
    (Arc::from(dot.origin.as_str()), dot.sequence)
}

pub(crate) fn event(event: &Event) -> RefEvent {
    let deps: BTreeMap<Arc<str>, u64> =
        event.deps.iter().map(|(o, sequence)| (Arc::from(o.as_str()), sequence)).collect();
    RefEvent {
        dot: dot(&event.dot),
        hlc: event.hlc.bits(),
        deps,
        ctx: event.ctx.as_ref().map(|ctx| ctx.iter().map(dot).collect()),
        identity: (event.identity.event_id.to_string(), event.identity.place),
        event_type: event.event_type.to_string(),
        operation: match event.operation {
            Operation::Put => RefOperation::Put,
            Operation::Patch => RefOperation::Patch,
            Operation::Delete => RefOperation::Delete,
            Operation::Increment => RefOperation::Increment,
            Operation::Record => RefOperation::Record,
            Operation::Add => RefOperation::Add,
            Operation::Remove => RefOperation::Remove,
        },
        data: event.data.clone(),
        epoch: event.policy_epoch,
    }
}

pub(crate) fn record((key, record): &(RecordKey, Record)) -> RefRecord {
    let of = |stamp: &Stamp| dot(&stamp.dot);
    RefRecord {
        losers: key.losers.iter().map(of).collect(),
        winner: of(&key.winner),
        paths: record.paths.clone(),
        kind: match record.kind {
            Kind::UpdateUpdate => RefKind::UpdateUpdate,
            Kind::UpdateDelete => RefKind::UpdateDelete,
            Kind::IdReused => RefKind::IdReused,
        },
        status: match &record.status {
            Status::Settled => RefStatus::Settled,
            Status::Open => RefStatus::Open,
            Status::SettledBy(stamp) => RefStatus::SettledBy(of(stamp)),
        },
    }
}

pub(crate) fn frontier(state: &KeyState) -> BTreeSet<RefDot> {
    state.folded().frontier.iter().map(|stamp| dot(&stamp.dot)).collect()
}

pub(crate) fn policy(policy: &Policy) -> RefPolicy {
    let kind = |kind: &FieldKind| match kind {
        FieldKind::Counter => RefField::Counter,
        FieldKind::Set => RefField::Set,
        FieldKind::Map => RefField::Map,
        FieldKind::Max => RefField::Max,
        FieldKind::Min => RefField::Min,
        FieldKind::Flag => RefField::Flag,
    };
    let fields = policy.fields().iter();
    RefPolicy {
        strategy: match policy.strategy() {
            Strategy::LastWriterWins => RefStrategy::LastWriterWins,
            Strategy::LastWriterWinsWhole => RefStrategy::LastWriterWinsWhole,
            Strategy::RegionPriority => RefStrategy::RegionPriority,
            Strategy::DeleteWins => RefStrategy::DeleteWins,
            Strategy::UpdateWins => RefStrategy::UpdateWins,
            Strategy::Manual => RefStrategy::Manual,
        },
        regions: policy.regions().iter().map(|region| region.to_string()).collect(),
        fields: fields.map(|(pointer, field)| (pointer.clone(), kind(field))).collect(),
    }
}
