//! Placeholder until linckia-log has verify.
