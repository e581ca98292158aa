//! The hands of a region: who it is on the wire, the sockets it listens on, the links to its
//! peers, and how all of that ends.
//!
//! Where in the flow: under every door and under `ship`. Nothing here knows an event; a frame is
//! opaque bytes, a request is somebody else's to answer.
//!
//! What always holds:
//! - nobody reaches a peer's frames without a certificate of the fleet's authority that names a
//!   region, over TLS 1.3;
//! - every queue, connection count, frame and wait has a limit, a named constant or an option;
//! - dropping a handle is the way to cancel, and leaves no task behind;
//! - the TLS provider is passed explicitly, so no process-wide default is needed.

mod authority;
mod error;
mod frame;
mod identity;
mod io;
mod region_identity;

pub use authority::SubjectNames;
pub use error::{Again, Error, Result, Whose};
pub use frame::FRAME_BYTES_MAX;
pub use identity::{ClientTls, DoorTls, Identity, PeerTls};
pub use io::client::{Client, ClientOptions, ClientResponse, RequestBody};
pub use io::development_ca::DevelopmentCa;
pub use io::door::{Connection, Door, DoorOptions};
pub use io::identity_files::IdentityFiles;
pub use io::peer::{
    FrameReceiver, FrameSender, LinkOptions, PeerCounters, PeerLink, PeerListener, dial,
};
pub use io::shutdown::{Guard, Shutdown, Trigger};
pub use region_identity::{check_region_name, region_of_certificate};
