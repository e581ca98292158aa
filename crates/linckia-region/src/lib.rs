//! One region as a state machine: the rooms connected, driven by inputs.
