//! The defaults, and the commented file that `linckia init` writes.
//!
//! Where it stands: beside `rules.rs`, which takes the defaults from here. What always holds: the
//! file parses as it is; every setting that exists stands in it; each commented setting shows its
//! default (a test takes the comment signs away and compares).

pub(super) const DOOR_BODY_MAX: &str = "8MiB";
pub(super) const DOOR_EVENTS_PER_ARRAY_MAX: u32 = 10_000;
pub(super) const DOOR_CONNECTIONS_MAX: u32 = 16_384;
pub(super) const DOOR_DEPTH_MAX: u32 = 64;
pub(super) const DOOR_NAME_BYTES_MAX: u32 = 256;
pub(super) const DOOR_IDLE_TIMEOUT: &str = "120s";
pub(super) const LOG_BYTES_MAX: &str = "16GiB";
pub(super) const LOG_HISTORY_BYTES_MAX: &str = "4GiB";
pub(super) const LOG_DISK_RESERVE: &str = "512MiB";
pub(super) const LOG_SEGMENT_BYTES_FIRST: &str = "4MiB";
pub(super) const LOG_SEGMENT_BYTES_MAX: &str = "64MiB";
pub(super) const STORE_CACHE: &str = "32MiB";
pub(super) const CLOCK_EPSILON: &str = "500ms";
pub(super) const CLOCK_OFFSET: &str = "0s";
pub(super) const TELEMETRY_SAMPLED: &str = "0%";
pub(super) const TELEMETRY_LINES: &str = "text";
pub(super) const SHIP_LINGER: &str = "5ms";
pub(super) const SHIP_GATHER: &str = "3ms";
pub(super) const SHIP_HEARTBEAT: &str = "250ms";
pub(super) const SHIP_LAPSE_AFTER: &str = "72h";
pub(super) const SHIP_LAPSE_AT: &str = "75%";
pub(super) const REPAIR_COMPARE: &str = "200/s";

/// The file that `linckia init` writes.
#[must_use]
pub fn commented_default() -> String {
    who_and_doors() + &peers_and_rooms() + &held_and_told()
}

fn who_and_doors() -> String {
    format!(
        r##"# One region of a Linckia fleet.
#
# Lines that begin with `#` and a name show a setting with its default or an example: remove the
# sign to change it. `linckia check FILE` says whether the file is right, and if not where and why.
# Sizes and times carry their unit ("64MiB", "30s"); unknown names are refused; relative paths
# start at this file's folder; secrets stand in files of their own, never here.

# The name of this region: 1 to 32 of a-z, 0-9 and -. It is part of everything written here and
# cannot change later.
region = "us-east-1"

# The directory of this region's logs and store. Nothing else may write there.
dir = "./data"

# A witness holds no data: it only makes a majority, where there are two regions, for what the
# members agree on. It has no [door].
#witness = false

# ---- The HTTP door, for applications and operators -------------------------------------------
[door]
# An IP address with a port. Outside loopback the door opens only with certificate, key, and a
# token_file or client_ca.
listen = "127.0.0.1:7401"

# TLS: certificate chain and private key, PEM.
#certificate = "./door.crt"
#key = "./door.key"

# Who may come in: holders of a certificate that this authority signed, ...
#client_ca = "./clients-ca.crt"
# ... or callers that present the token in this file (Authorization: Bearer ...).
#token_file = "./token"

# The largest request body, but for NDJSON, which is unlimited.
#body_max = "{DOOR_BODY_MAX}"
# The most events in one JSON array.
#events_per_array_max = {DOOR_EVENTS_PER_ARRAY_MAX}
# The deepest nesting of a JSON document.
#depth_max = {DOOR_DEPTH_MAX}
# The longest name (event type, aggregate type and id), in bytes.
#name_bytes_max = {DOOR_NAME_BYTES_MAX}
# The most connections at once; the next ones wait in the kernel. Each takes a file descriptor.
#connections_max = {DOOR_CONNECTIONS_MAX}
# A connection without a request for this long is closed.
#idle_timeout = "{DOOR_IDLE_TIMEOUT}"

"##
    )
}

fn peers_and_rooms() -> String {
    format!(
        r##"# ---- Where other regions come in; needed as soon as there are [[peers]] ------------
# Always mutual TLS 1.3: the certificate names this region, the authority is the whole fleet's.
#[peer]
#listen = "127.0.0.1:7411"
#certificate = "./region.crt"
#key = "./region.key"
#ca = "./fleet-ca.crt"

# ---- Every other region, one [[peers]] each --------------------------------------------------
#[[peers]]
#region = "eu-west-1"
#address = "10.0.0.7:7411"
# It is a witness: nothing is replicated to it.
#witness = false

# ---- The durable logs ------------------------------------------------------------------------
[log]
# At this size on disk new writes are refused; reading goes on.
#bytes_max = "{LOG_BYTES_MAX}"
# Beyond this size on disk logs let go of what every region has, the oldest first: history is as
# long as they are. By default a quarter of bytes_max.
#history_bytes_max = "{LOG_HISTORY_BYTES_MAX}"
# Room that is kept free on the disk. With less new writes are refused until there is room again.
#disk_reserve = "{LOG_DISK_RESERVE}"
# Segment files are zeroed ahead; they begin small and double up to the maximum.
#segment_bytes_first = "{LOG_SEGMENT_BYTES_FIRST}"
#segment_bytes_max = "{LOG_SEGMENT_BYTES_MAX}"

# ---- What holds now; brought up to the logs after a crash -------------------------------------
[store]
# Memory for cached blocks.
#cache = "{STORE_CACHE}"

# ---- Time ------------------------------------------------------------------------------------
[clock]
# How far this machine's clock may be ahead of or behind the others'.
#epsilon = "{CLOCK_EPSILON}"
# For rehearsals of a wrong clock only: added to what this machine's clock says ("-3s").
#offset = "{CLOCK_OFFSET}"

# ---- From the logs to the store: no settings yet ---------------------------------------------
[apply]

# ---- Logs between regions --------------------------------------------------------------------
[ship]
# How long a mirror gathers before it syncs, so that it shares the disk with this region's own log.
#linger = "{SHIP_LINGER}"
# How long events gather for one frame to a peer while there is a steady flow of them.
#gather = "{SHIP_GATHER}"
# How often an idle link says that it lives.
#heartbeat = "{SHIP_HEARTBEAT}"
# A region that nobody has heard of for so long lapses: the others close its log and wait for it no
# more, until it comes back; "0s": only when an operator says so.
#lapse_after = "{SHIP_LAPSE_AFTER}"
# Once logs take this share of log.bytes_max, a region that is away lapses after a minute, before
# the bound refuses writes; "0%": not for that.
#lapse_at = "{SHIP_LAPSE_AT}"

"##
    )
}

/// What is compared, signed and told.
fn held_and_told() -> String {
    format!(
        r##"# ---- What is held, compared with the other regions -----------------------
[repair]
# So many keys are compared all the time, with one region after the other; what is wrong here is
# fetched from where it is right. "0/s": only when an operator asks for it.
#compare = "{REPAIR_COMPARE}"

# ---- Sessions: tokens with which clients see their own writes in every region -----------------
[session]
# The keys that sign them, the same file in every region; `linckia session-keys create` makes one.
#keys = "./session.keys"

# ---- What the process says of itself, beside /metrics ------------------------------------------
[telemetry]
# The collector that spans are sent to, by OTLP over HTTP; without it nothing is traced.
#otlp = "http://127.0.0.1:4318"
# The share of requests without a trace context of their own that are traced.
#sampled = "{TELEMETRY_SAMPLED}"
# Log lines: "text", or "json" with one object a line.
#lines = "{TELEMETRY_LINES}"
"##
    )
}
