//! PostgreSQL as Debian packages it, on a free port, in a directory of its own, as a user without
//! rights: what one region is compared with.
//!
//! Used by `append`. What always holds: its settings are its defaults, so a commit is durable; it
//! ends with its handle; what it inserts is as many bytes an event as a region is sent.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::append::CLIENTS;
use super::process::{self, Process, bound};

/// Where Debian puts its versions, each with a `bin`.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Who it runs as when we are root, whom it refuses: the first of these that the system knows.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// For one of its small programs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Threads of pgbench: one, as the load generator has.
const CLIENT_THREADS: &str = "1";

/// With id, names and aggregate, an event of 300 bytes.
const BODY_BYTES: usize = 200;

/// A table to insert into, and what stands in a row; `{row}` differs among those of a statement.
/// The server makes the ids, which costs it less than reading them.
pub struct Table {
    pub name: &'static str,
    create: &'static str,
    insert: &'static str,
    row: &'static str,
}

/// The least that can be called storing events: only an id can be found again.
pub const PLAIN: Table = Table {
    name: "plain table",
    create: "create table plain (id uuid primary key, aggregate text not null, body text not null)",
    insert: "insert into plain values",
    row: "(gen_random_uuid(), 'load-' || (:aggregate::bigint + {row} * 97) % 10000, :body)",
};

/// What a door offers too: ordered, JSON that was checked, found by id and by aggregate.
pub const EVENTS: Table = Table {
    name: "event table",
    create: "create table events (sequence bigint generated always as identity primary key, \
             id uuid not null unique, type text not null, aggregate_type text not null, \
             aggregate_id text not null, data jsonb not null, \
             at timestamptz not null default now()); \
             create index on events (aggregate_type, aggregate_id, sequence)",
    insert: "insert into events (id, type, aggregate_type, aggregate_id, data) values",
    row: "(gen_random_uuid(), 'LoadMeasured', 'Load', \
          'load-' || (:aggregate::bigint + {row} * 97) % 10000, :body::jsonb)",
};

/// The programs of one version.
pub struct Installed {
    bin: PathBuf,
    user: Option<&'static str>,
}

/// What pgbench measured.
pub struct Inserted {
    pub rows_a_second: f64,
    pub rows_a_cpu_second: f64,
    /// The mean, in milliseconds.
    pub latency: f64,
}

pub struct Server<'a> {
    installed: &'a Installed,
    process: Process,
    dir: PathBuf,
    port: String,
}

impl Installed {
    /// The newest version on this machine.
    pub fn find() -> anyhow::Result<Self> {
        let mut versions: Vec<(u32, PathBuf)> = Vec::new();
        for entry in fs::read_dir(VERSIONS).into_iter().flatten() {
            let entry = entry?;
            let version = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let bin = entry.path().join("bin");
            if ["initdb", "postgres", "pgbench", "psql"].iter().all(|name| bin.join(name).is_file())
            {
                versions.extend(version.map(|version| (version, bin)));
            }
        }
        let Some((_, bin)) = versions.into_iter().max() else {
            bail!(
                "PostgreSQL is not installed: `apt-get install postgresql`, or measure \
                 --without-postgres"
            );
        };
        Ok(Self { bin, user: unprivileged()? })
    }

    fn command(&self, program: &str) -> Command {
        // PostgreSQL takes SIGINT for an order to end at once, in order.
        bound(self.bin.join(program), "INT", self.user)
    }
}

/// The user to change to, if we are root.
fn unprivileged() -> anyhow::Result<Option<&'static str>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    if user != Some("0") {
        return Ok(None);
    }
    anyhow::ensure!(
        process::find_program("setpriv").is_some(),
        "PostgreSQL does not run as root, and there is no setpriv (util-linux) to change the user"
    );
    let known = fs::read_to_string("/etc/passwd")?;
    let is_known = |user: &&str| known.lines().any(|line| line.split(':').next() == Some(*user));
    let user = USERS.into_iter().find(is_known);
    Ok(Some(user.context("PostgreSQL does not run as root, and there is no user nobody")?))
}

impl<'a> Server<'a> {
    /// Returns when it takes connections and has its tables.
    pub fn start(installed: &'a Installed, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir(dir)?;
        if let Some(user) = installed.user {
            let status = Command::new("chown").arg(user).arg(dir).status()?;
            anyhow::ensure!(status.success(), "chown {user} {}: {status}", dir.display());
        }
        let data = dir.join("data");
        let mut initdb = installed.command("initdb");
        initdb.arg("--pgdata").arg(&data).args(["--username=bench", "--auth=trust"]);
        initdb.args(["--encoding=UTF8", "--locale=C"]).current_dir(dir);
        process::output(initdb, "initdb", PATIENCE)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port().to_string();
        let mut postgres = installed.command("postgres");
        postgres.arg("-D").arg(&data).args(["-p", &port, "-c", "listen_addresses=127.0.0.1"]);
        postgres.args(["-c", "unix_socket_directories="]).current_dir(dir);
        postgres.stderr(fs::File::create(dir.join("postgres.log"))?);
        let process = Process::start(postgres, "postgres", "INT")?;
        let mut server = Self { installed, process, dir: dir.to_owned(), port };
        server.wait_ready()?;
        for table in [PLAIN, EVENTS] {
            server.sql(table.create)?;
        }
        Ok(server)
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let port = self.port.parse()?;
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
            || self.sql("select 1").is_err()
        {
            if !self.process.is_running() || begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.dir.join("postgres.log"))?;
                bail!("PostgreSQL does not start:\n{log}");
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn client(&self, program: &str) -> Command {
        let mut command = self.installed.command(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port, "-U", "bench"]).current_dir(&self.dir);
        command
    }

    fn sql(&self, statement: &str) -> anyhow::Result<String> {
        let mut psql = self.client("psql");
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement, "postgres"]);
        process::output(psql, "psql", PATIENCE)
    }

    pub fn version(&self) -> String {
        let version = self.sql("show server_version").unwrap_or_default();
        format!("PostgreSQL {version}")
    }

    /// Inserts `rows` rows a statement, each statement a transaction, from all clients.
    pub fn insert(
        &self,
        table: &Table,
        rows: usize,
        seconds: (f64, f64),
    ) -> anyhow::Result<Inserted> {
        let script = self.dir.join("insert.sql");
        fs::write(&script, statement(table, rows))?;
        self.pgbench(&script, seconds.0)?;
        let cpu_before = process::cpu_seconds_of_tree(self.process.id())?;
        let printed = self.pgbench(&script, seconds.1)?;
        let cpu = process::cpu_seconds_of_tree(self.process.id())? - cpu_before;
        let transactions = figure(&printed, "number of transactions actually processed: ")?;
        let per_second = figure(&printed, "tps = ")?;
        Ok(Inserted {
            rows_a_second: per_second * rows as f64,
            rows_a_cpu_second: transactions * rows as f64 / cpu,
            latency: figure(&printed, "latency average = ")?,
        })
    }

    fn pgbench(&self, script: &Path, seconds: f64) -> anyhow::Result<String> {
        let mut pgbench = self.client("pgbench");
        pgbench.args(["-n", "-M", "prepared", "-c", &CLIENTS.to_string(), "-j", CLIENT_THREADS]);
        pgbench.args(["-T", &format!("{seconds:.0}"), "-D", &format!("body={}", body())]);
        pgbench.arg("-f").arg(script).arg("postgres");
        let patience = Duration::from_secs_f64(seconds) + PATIENCE;
        process::output(pgbench, "pgbench", patience)
    }
}

fn statement(table: &Table, rows: usize) -> String {
    let row = |number: usize| table.row.replace("{row}", &number.to_string());
    let rows = (0..rows).map(row).collect::<Vec<_>>().join(",\n");
    format!("\\set aggregate random(1, 10000)\n{}\n{rows};\n", table.insert)
}

fn body() -> String {
    let padding: String = "0123456789abcdef".chars().cycle().take(BODY_BYTES).collect();
    format!("{{\"mark\":\"000000000000\",\"padding\":\"{padding}\"}}")
}

/// The number after `name` in what pgbench prints.
fn figure(printed: &str, name: &str) -> anyhow::Result<f64> {
    let line = printed.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split([' ', '/']).next()?.parse().ok());
    number.with_context(|| format!("pgbench says no {name:?}:\n{printed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_prints_is_read() {
        let printed = "number of transactions actually processed: 71/80\n\
                       latency average = 6.127 ms\n\
                       tps = 10445.9 (without initial connection time)";
        assert_eq!(figure(printed, "tps = ").unwrap(), 10_445.9);
        assert_eq!(figure(printed, "latency average = ").unwrap(), 6.127);
        assert!(figure("", "tps = ").is_err());
        let processed = "number of transactions actually processed: ";
        assert_eq!(figure(printed, processed).unwrap(), 71.0);
        let both = [PLAIN, EVENTS].map(|table| statement(&table, 3));
        assert!(both.iter().all(|text| text.matches(":body").count() == 3), "{both:?}");
    }
}
