// A mesh of two hosts whose apps are PostgreSQL, Redis, MariaDB and sshd: on b behind its agent, on c without one.
import { chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { ADDRESS, eventually, type HostName } from "../support/hosts.ts";
import { nameUsers, PeerPrograms } from "../support/peer-programs.ts";
import { testServerPem } from "../support/test-pki.ts";
import { Mesh } from "./mesh.ts";
import { PEERS, UID } from "./ports.ts";

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class PeerMesh {
  readonly mesh: Mesh;
  readonly programs: PeerPrograms;
  /** Of PostgreSQL. */
  readonly certificate: string;

  private constructor(mesh: Mesh, programs: PeerPrograms) {
    this.mesh = mesh;
    this.programs = programs;
    this.certificate = `${mesh.hosts.directory}/pg.pem`;
  }

  static async up(): Promise<PeerMesh> {
    const mesh = await Mesh.up(["--mode", "all"]);
    try {
      const users = { client: UID.client, postgres: UID.postgres, redis: UID.redis };
      nameUsers(mesh.hosts, { ...users, mariadb: UID.mariadb, shell: UID.sshd });
      const on = new PeerMesh(mesh, await PeerPrograms.unpack(mesh.hosts));
      on.directory("client", UID.client);
      await Promise.all([on.#postgres(), on.#redis(), on.#mariadb(), on.#sshd()]);
      await mesh.apply(WORKLOADS);
      return on;
    } catch (cause) {
      await mesh.down();
      throw cause;
    }
  }

  down(): Promise<void> {
    return this.mesh.down();
  }

  /** As the client on a: a shell's words, with the peers' programs on its path. */
  async sh(script: string, timeoutMs = 120_000): Promise<string> {
    const { code, stdout, stderr } = await this.try(`set -e; ${script}`, timeoutMs);
    if (code !== 0) throw new Error(`${script}: ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }
  try(script: string, timeoutMs = 120_000): Promise<Ran> {
    const home = this.stateOf("client");
    const words = ["bash", "-c", `cd ${home}; ${script}`];
    const env = { ...this.programs.env, HOME: home };
    return this.mesh.hosts.run("a", words, { uid: UID.client, env }, timeoutMs);
  }
  /** Goes on until it ends by itself or with the lab; what it says is `mesh.log(log)`. */
  spawn(script: string, log: string) {
    const as = { uid: UID.client, env: this.programs.env, log };
    return this.mesh.hosts.spawn("a", ["bash", "-c", script], as);
  }

  stateOf(name: string): string {
    return this.mesh.stateOf(name);
  }
  directory(name: string, uid: number): string {
    mkdirSync(this.stateOf(name), { mode: 0o700 });
    chownSync(this.stateOf(name), uid, uid);
    return this.stateOf(name);
  }
  #file(path: string, uid: number, text: string): void {
    writeFileSync(path, text, { mode: 0o600 });
    chownSync(path, uid, uid);
  }

  async #prepare(uid: number, script: string): Promise<void> {
    const as = { uid, env: this.programs.env };
    const { code, stderr, stdout } = await this.mesh.hosts.run(
      "b",
      ["bash", "-ec", script],
      as,
      120_000,
    );
    if (code !== 0) throw new Error(`${script} ended with ${code}: ${stderr}${stdout}`);
  }
  /** Resolves when it listens. */
  async #serve(
    host: HostName,
    uid: number,
    command: string[],
    log: string,
    port: number,
  ): Promise<void> {
    const { hosts } = this.mesh;
    const child = hosts.spawn(host, command, { uid, env: this.programs.env, log });
    await eventually(
      `${log} listens`,
      async () => {
        if (child.exitCode !== null) throw new Error(`${log} ended: ${this.mesh.log(log)}`);
        const asked = await hosts.run(host, ["ss", "-Hltn", `sport = :${port}`], { uid });
        return asked.stdout.includes(`:${port}`);
      },
      60_000,
    );
  }

  async #postgres(): Promise<void> {
    const uid = UID.postgres;
    const { certificatePem, keyPem } = await testServerPem(["pg", "pg-unsaid"]);
    writeFileSync(this.certificate, certificatePem);
    const at = this.directory("postgres", uid);
    this.#file(`${at}/server.key`, uid, keyPem);
    this.#file(`${at}/hba`, uid, "host all all all trust\n");
    await this.#prepare(
      uid,
      `initdb -D ${at}/b -U postgres -A trust -E UTF8 --no-locale --no-sync; cp -a ${at}/b ${at}/c`,
    );
    const settings = {
      listen_addresses: "*",
      port: PEERS.postgres,
      unix_socket_directories: "",
      hba_file: `${at}/hba`,
      ssl: "on",
      ssl_cert_file: this.certificate,
      ssl_key_file: `${at}/server.key`,
      fsync: "off",
    };
    const said = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    for (const host of ["b", "c"] as const)
      await this.#serve(
        host,
        uid,
        ["postgres", "-D", `${at}/${host}`, ...said],
        `postgres-${host}`,
        PEERS.postgres,
      );
  }

  async #redis(): Promise<void> {
    const at = this.directory("redis", UID.redis);
    const words = [
      "--port",
      `${PEERS.redis}`,
      "--bind",
      "*",
      "--protected-mode",
      "no",
      "--save",
      "",
      "--dir",
      at,
    ];
    for (const host of ["b", "c"] as const)
      await this.#serve(host, UID.redis, ["redis-server", ...words], `redis-${host}`, PEERS.redis);
  }

  async #mariadb(): Promise<void> {
    const uid = UID.mariadb;
    const at = this.directory("mariadb", uid);
    const { root } = this.programs;
    const all = [
      "--no-defaults",
      `--basedir=${root}/usr`,
      "--innodb-log-file-size=4M",
      "--innodb-flush-log-at-trx-commit=0",
    ];
    await this.#prepare(
      uid,
      `mariadb-install-db ${all.join(" ")} --datadir=${at}/b --auth-root-authentication-method=normal --skip-test-db; cp -a ${at}/b ${at}/c`,
    );
    // Anybody of the lab, and none of the rights that let one in when all places are taken.
    this.#file(
      `${at}/init.sql`,
      uid,
      "create database shop;\ncreate user shop identified by 'secret';\ngrant all on shop.* to shop;\n",
    );
    for (const host of ["b", "c"] as const) {
      const own = [
        `--datadir=${at}/${host}`,
        `--socket=${at}/${host}.sock`,
        `--init-file=${at}/init.sql`,
        "--bind-address=*",
      ];
      const ports = [
        `--port=${PEERS.mariadb}`,
        `--extra-port=${PEERS.mariadbExtra}`,
        "--extra-max-connections=10",
        "--max-connections=10",
      ];
      const command = [
        "mariadbd",
        ...all,
        ...own,
        ...ports,
        "--local-infile=1",
        "--skip-name-resolve",
      ];
      await this.#serve(host, uid, command, `mariadb-${host}`, PEERS.mariadbExtra);
    }
  }

  async #sshd(): Promise<void> {
    const uid = UID.sshd;
    const at = this.directory("sshd", uid);
    const client = this.stateOf("client");
    await this.#prepare(
      uid,
      `ssh-keygen -q -t ed25519 -N '' -f ${at}/host; ssh-keygen -q -t ed25519 -N '' -f ${at}/user; mv ${at}/user.pub ${at}/authorized`,
    );
    const known = `${at}/host.pub`;
    const config = `${at}/config`;
    this.#file(
      config,
      uid,
      `Port ${PEERS.sshd}
HostKey ${at}/host
AuthorizedKeysFile ${at}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
Subsystem sftp internal-sftp
`,
    );
    this.#file(`${client}/key`, UID.client, readFileSync(`${at}/user`, "utf8"));
    this.#file(`${client}/known`, UID.client, `* ${readFileSync(known, "utf8")}`);
    this.#file(
      `${client}/ssh`,
      UID.client,
      `Host *
  User shell
  IdentityFile ${client}/key
  IdentitiesOnly yes
  UserKnownHostsFile ${client}/known
  StrictHostKeyChecking yes
  BatchMode yes
`,
    );
    for (const host of ["b", "c"] as const)
      await this.#serve(
        host,
        uid,
        [`${this.programs.root}/usr/sbin/sshd`, "-D", "-e", "-f", config],
        `sshd-${host}`,
        PEERS.sshd,
      );
  }
}

/** A service whose port says what it speaks, and one whose port does not. */
export const peerWorkload = (
  name: string,
  uid: number,
  port: number,
  target: number,
  protocol: string,
  unsaid = target,
): string => `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: ${name} }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${uid} }
  services:
    - name: ${name}
      ports: [{ port: ${port}, targetPort: ${target}, protocol: ${protocol} }]
    - name: ${name}-unsaid
      ports: [{ port: ${port === 3306 ? 3316 : port}, targetPort: ${unsaid} }]
---`;

const WORKLOADS = [
  peerWorkload("pg", UID.postgres, 5432, PEERS.postgres, "TCP"),
  peerWorkload("redis", UID.redis, 6379, PEERS.redis, "REDIS"),
  peerWorkload("maria", UID.mariadb, 3306, PEERS.mariadb, "MYSQL", PEERS.mariadbExtra),
  peerWorkload("shell", UID.sshd, 22, PEERS.sshd, "TCP"),
].join("");

/** A server on a host without an agent, which no resource knows. */
export const STRANGER = ADDRESS.c;
