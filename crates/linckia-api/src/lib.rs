//! The HTTP door of a region.
