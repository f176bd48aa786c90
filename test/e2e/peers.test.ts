// Programs that nobody here wrote, as Debian ships them, through two real agents: PostgreSQL, Redis, MariaDB and OpenSSH, to ports that say what
// they speak, ports that do not (the first bytes decide), and servers that the mesh does not know (mode `all`).
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { PeerMesh, STRANGER } from "./peer-servers.ts";
import { PEERS, UID } from "./ports.ts";
import { timed } from "./timed.ts";

setDefaultTimeout(180_000);
// Its programs are 100 MB, and it takes a minute.
const isFull = process.env["IRONMESH_TIER"] === "full";
const can = isFull && (await canRun("peers"));

/** Silence on an undeclared port before it is carried as opaque: docs/operating.md. */
const DETECT_MS = 1_000;

let on: PeerMesh;

if (can)
  beforeAll(async () => {
    const beganMs = performance.now();
    on = await PeerMesh.up();
    console.log(`peers up after ${Math.round(performance.now() - beganMs)} ms`);
  });
afterAll(() => on?.down());

timed(can, "psql and PostgreSQL", () => {
  const WAYS = ["pg", "pg-unsaid", STRANGER];
  const to = (host: string, more = ""): string =>
    `psql -X -q -At -v ON_ERROR_STOP=1 "host=${host} user=postgres connect_timeout=10 gssencmode=disable ${more}"`;

  for (const host of WAYS)
    test(`ask for TLS before anything is said, get it, and it is PostgreSQL's own: ${host}`, async () => {
      const verified =
        host === STRANGER ? "sslmode=require" : `sslmode=verify-full sslrootcert=${on.certificate}`;
      const asked = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()";
      expect(await on.sh(`${to(host, verified)} -c "${asked}"`)).toBe("t|TLSv1.3\n");
      expect(await on.sh(`${to(host, "sslmode=disable")} -c "${asked}"`)).toBe("f|\n");
    });

  for (const host of WAYS)
    for (const mode of ["require", "disable"])
      test(`COPY 16 MB in and out again, with sslmode=${mode}: ${host}`, async () => {
        const sql = `create table t (id int, word text);
          \\copy t from pstdin
          select count(*), sum(id) from t;
          \\copy (select * from t order by id) to 'out'
          drop table t;`;
        const rows = 160_000;
        const text =
          await on.sh(`seq -f '%.0f' ${rows} | awk '{ printf "%d\\t%090d\\n", $1, $1 }' > in
          cat > copy.sql <<'SQL'\n${sql}\nSQL
          ${to(host, `sslmode=${mode}`)} -f copy.sql < in
          cmp in out && wc -c < out`);
        const [sums, bytes] = text.trim().split("\n");
        expect(sums).toBe(`${rows}|${(rows * (rows + 1)) / 2}`);
        expect(Number(bytes)).toBeGreaterThan(15_000_000);
      });

  for (const host of WAYS)
    test(`errors before and after the login reach psql in the server's words: ${host}`, async () => {
      const none = await on.try(`${to(host, "dbname=nope")} -c "select 1"`);
      expect([none.code, none.stderr]).toEqual([
        2,
        expect.stringContaining('database "nope" does not exist'),
      ]);
      await on.sh(
        `${to(host)} -c "drop role if exists full_up; create role full_up login connection limit 0"`,
      );
      const full = await on.try(
        `${to(host).replace("user=postgres", "user=full_up dbname=postgres")} -c "select 1"`,
      );
      expect([full.code, full.stderr]).toEqual([
        2,
        expect.stringContaining("too many connections for role"),
      ]);
    });

  for (const host of WAYS)
    test(`a session that the server ends, unasked, hears why: ${host}`, async () => {
      const session = await on.try(`${to(host)} > said 2>&1 <<'SQL'
select pg_backend_pid() \\g pid
\\! ${to(host)} -c "select pg_terminate_backend($(cat pid))" > ended
select 1;
SQL`);
      expect(session.code).not.toBe(0);
      expect(await on.sh("cat ended said")).toMatch(
        /^t\n.*terminating connection due to administrator command/s,
      );
    });

  test("who reads nothing for five seconds, in the middle of a large answer, still gets all of it", async () => {
    const rows = 60_000;
    const said = await on.sh(
      `${to("pg")} -c "copy (select repeat('x', 999) from generate_series(1, ${rows})) to stdout" | (sleep 5; wc -c)`,
    );
    expect(said.trim()).toBe(`${rows * 1_000}`);
  });

  for (const host of WAYS)
    test(`a query is cancelled over a connection of its own: ${host}`, async () => {
      const { stderr } = await on.try(`timeout -s INT 2 ${to(host)} -c "select pg_sleep(60)"`);
      expect(stderr).toContain("canceling statement due to user request");
    });
});

timed(can, "redis-cli and Redis", () => {
  const WAYS = ["redis", "redis-unsaid", STRANGER];
  for (const host of WAYS)
    test(`100,000 commands in one pipeline are all answered, in order: ${host}`, async () => {
      const said = await on.sh(`redis-cli -h ${host} flushall
        seq 100000 | awk '{ printf "*3\\r\\n$3\\r\\nSET\\r\\n$%d\\r\\nk%d\\r\\n$100\\r\\n%0100d\\r\\n", length($1) + 1, $1, $1 }' > mass
        redis-cli -h ${host} --pipe < mass
        redis-cli -h ${host} dbsize
        redis-cli -h ${host} get k77777`);
      expect(said).toContain("errors: 0, replies: 100000");
      expect(said.trim().split("\n").slice(-2)).toEqual(["100000", "77777".padStart(100, "0")]);
      const pinged = await on.sh(`seq -f 'echo n%.0f' 2000 | redis-cli -h ${host}`);
      expect(pinged.trim().split("\n")).toEqual(
        Array.from({ length: 2_000 }, (_, i) => `n${i + 1}`),
      );
    });

  for (const host of WAYS)
    test(`a value of 16 MB goes in and comes out the same: ${host}`, async () => {
      const said = await on.sh(`head -c 16000000 /dev/urandom > value
        redis-cli -h ${host} -x set large < value
        redis-cli -h ${host} --raw get large | head -c 16000000 | cmp - value && echo same`);
      expect(said).toBe("OK\nsame\n");
    });

  for (const host of WAYS)
    test(`what is published is pushed to who subscribed, and MONITOR shows it at once: ${host}`, async () => {
      const log = `subscriber-${host}`;
      const monitor = `monitor-${host}`;
      on.spawn(`exec redis-cli -h ${host} --csv subscribe news`, log);
      on.spawn(`exec redis-cli -h ${host} monitor`, monitor);
      await eventually("the subscription", () => on.mesh.log(log).includes('"subscribe","news",1'));
      await eventually("the monitor", () => on.mesh.log(monitor).startsWith("OK"));
      await on.sh(`seq -f 'publish news n%.0f' 2000 | redis-cli -h ${host}`);
      const wanted = Array.from({ length: 2_000 }, (_, i) => `"message","news","n${i + 1}"`);
      const pushed = (): string[] =>
        on.mesh
          .log(log)
          .trim()
          .split("\n")
          .filter((line) => line.includes('"message"'));
      await eventually("all messages", () => pushed().length >= wanted.length);
      expect(pushed()).toEqual(wanted);
      await eventually("the last command", () =>
        on.mesh.log(monitor).includes('"publish" "news" "n2000"'),
      );
      expect(on.mesh.log(monitor).match(/"publish" "news"/g)).toHaveLength(2_000);
    });
});

timed(can, "mariadb and MariaDB, whose server speaks first", () => {
  let client: Remote;
  beforeAll(async () => {
    client = await on.mesh.remote("a", UID.client);
  });

  /** Until the server's greeting. */
  const greetedAfterMs = async (who: Remote, host: string, port: number): Promise<number> => {
    const { text, how, ms } = await who.run((kit, o) => kit.converse(o), {
      host,
      port,
      until: "mysql_native_password",
    });
    expect([how, text.includes("MariaDB")]).toEqual(["enough", true]);
    return Math.round(ms);
  };

  test("a port that says MYSQL has no delay, one that does not say has it once, on whatever thread, and the mesh does not know of it either", async () => {
    const said = (await on.mesh.vipOf("maria.default.mesh")).vip4;
    const unsaid = (await on.mesh.vipOf("maria-unsaid.default.mesh")).vip4;
    const outside = await on.mesh.remote("c", UID.outside);
    const figures: Record<string, number[]> = {};
    for (const [way, who, host, port] of [
      ["declared", client, said, 3306],
      ["undeclared", client, unsaid, PEERS.mariadbExtra],
      ["unknown to the mesh", client, STRANGER, PEERS.mariadbExtra],
      ["from a host without an agent", outside, "10.79.1.2", PEERS.mariadbExtra],
    ] as const) {
      const times: number[] = [];
      for (let i = 0; i < 12; i++) times.push(await greetedAfterMs(who, host, port));
      figures[way] = times;
    }
    console.log(
      "ms until MariaDB's greeting, one connection after the other:",
      JSON.stringify(figures),
    );
    for (const [way, [first = 0, ...later]] of Object.entries(figures)) {
      expect([way, first >= DETECT_MS]).toEqual([way, way !== "declared"]);
      expect([way, later.filter((ms) => ms >= DETECT_MS)]).toEqual([way, []]);
    }
  });

  const WAYS: readonly (readonly [string, number])[] = [
    ["maria", 3306],
    ["maria-unsaid", PEERS.mariadbExtra],
    [STRANGER, PEERS.mariadb],
  ];
  const to = (host: string, port: number): string =>
    `mariadb --no-defaults -h ${host} -P ${port} -u shop -psecret --batch --skip-column-names shop`;

  for (const [host, port] of WAYS)
    test(`some MB go in and come out: ${host}:${port}`, async () => {
      const said = await on.sh(`seq 100000 | awk '{ printf "%d\\t%0100d\\n", $1, $1 }' > rows
        ${to(host, port)} --local-infile=1 -e "create or replace table t (id int primary key, word text); load data local infile 'rows' into table t; select count(*), sum(id) from t"
        ${to(host, port)} --quick -e "select * from t order by id" | cmp - rows && echo same`);
      expect(said).toBe("100000\t5000050000\nsame\n");
    });

  for (const [host, port] of WAYS)
    test(`a wrong password is told in the server's words: ${host}:${port}`, async () => {
      const { code, stderr } = await on.try(
        `${to(host, port).replace("-psecret", "-pwrong")} -e "select 1"`,
      );
      expect([code, stderr]).toEqual([
        1,
        expect.stringContaining("ERROR 1045 (28000): Access denied for user 'shop'"),
      ]);
    });

  test("an error in place of the greeting, and the end behind it, reach the client", async () => {
    await on.sh(
      `mariadb --no-defaults -h maria-unsaid -P ${PEERS.mariadbExtra} -u shop -psecret shop -e "select 1"`,
    );
    on.spawn(`for i in $(seq 40); do ${to("maria", 3306)} -e "do sleep(60)" & done; wait`, "crowd");
    const refused = await eventually("an error in place of the greeting", async () => {
      const { stderr } = await on.try(`${to("maria", 3306)} -e "select 1"`);
      return stderr !== "" && stderr;
    });
    expect(refused).toContain("1040");
    expect(refused).toContain("Too many connections");
  });
});

timed(can, "ssh and sshd", () => {
  const WAYS: readonly (readonly [string, number])[] = [
    ["shell", 22],
    ["shell-unsaid", 22],
    [STRANGER, PEERS.sshd],
  ];
  for (const [host, port] of WAYS)
    test(`scp of 16 MB there and back: ${host}`, async () => {
      const scp = `scp -q -F ssh -S "$(command -v ssh)" -P ${port}`;
      const said = await on.sh(`head -c 16000000 /dev/urandom > there
        ${scp} there ${host}:${on.stateOf("sshd")}/file
        ${scp} ${host}:${on.stateOf("sshd")}/file back
        cmp there back && echo same`);
      expect(said).toBe("same\n");
    });

  for (const [host, port] of WAYS)
    test(`a session in which somebody types now and then answers at once, and its exit code comes back: ${host}`, async () => {
      const said =
        await on.try(`coproc there { ssh -F ssh -p ${port} ${host} 'while read -r line; do echo "$line"; done; exit 7'; }
        echo first >&"\${there[1]}"; read -r -u "\${there[0]}" got; echo "0 $got"
        for i in 1 2 3 4 5 6 7 8; do
          sleep 0.4
          at=\${EPOCHREALTIME/./}
          for letter in t y p e; do printf %s $letter >&"\${there[1]}"; done
          echo " $i" >&"\${there[1]}"
          read -r -u "\${there[0]}" got
          echo "$((\${EPOCHREALTIME/./} - at)) $got"
        done
        eval "exec \${there[1]}>&-"
        wait $there_PID`);
      const lines = said.stdout
        .trim()
        .split("\n")
        .map((line) => line.split(" "));
      expect(lines.map(([, ...words]) => words.join(" "))).toEqual([
        "first",
        ...[1, 2, 3, 4, 5, 6, 7, 8].map((i) => `type ${i}`),
      ]);
      console.log(
        `ms until each line came back from ${host}:`,
        lines
          .slice(1)
          .map(([us]) => Math.round(Number(us) / 1_000))
          .join(" "),
      );
      expect([said.code, said.stderr]).toEqual([7, ""]);
    });
});

timed(can, "a host that vanishes", () => {
  const meshConnections = async (host: "a" | "b"): Promise<number> => {
    const filter = "( sport = :15008 or dport = :15008 )";
    const { stdout } = await on.mesh.hosts.run(
      host,
      ["ss", "-Htn", "state", "established", filter],
      { uid: 0 },
    );
    return stdout.split("\n").filter((line) => line !== "").length;
  };

  test("is noticed while bytes flow, and towards a client that reads nothing", async () => {
    const copy = `psql -X -q "host=pg user=postgres sslmode=disable" -c "copy (select repeat('x', 999) from generate_series(1, 100000000)) to stdout"`;
    on.spawn(`${copy} | (head -c 100000 > /dev/null; sleep 600)`, "paused");
    const flowing = on.try(`${copy} > /dev/null`);
    // Until the one that nobody reads has filled every buffer on its way.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    expect(await meshConnections("b")).toBeGreaterThanOrEqual(2);
    const cutMs = performance.now();
    await on.mesh.hosts.cut("b");
    const { code } = await flowing;
    const noticedMs = Math.round(performance.now() - cutMs);
    expect(code).not.toBe(0);
    await eventually(
      "b's ends of both are gone",
      async () => (await meshConnections("b")) === 0,
      30_000,
    );
    console.log(
      `noticed by the one that was read after ${noticedMs} ms, by both ends of b after ${Math.round(performance.now() - cutMs)} ms`,
    );
  });
});
