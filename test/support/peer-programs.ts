// Servers and clients that nobody here wrote, out of Debian's packages (.ci/peers). They are unpacked into the lab's own directory and run
// from there: nothing is installed, and all of it goes with the lab. Users exist by name only inside of the lab's hosts.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { runOrThrow } from "../../cli/demo/shell.ts";
import { HOST_NAMES, type Hosts } from "./hosts.ts";

/** Where `.ci/peers` put the packages. */
const PACKAGES = process.env["IRONMESH_PEERS"] ?? ".cache/peers";
const POSTGRES_BIN = "usr/lib/postgresql/15/bin";

export class PeerPrograms {
  readonly root: string;
  /** For a process to find the programs by their names, and their libraries. */
  readonly env: { readonly [name: string]: string };

  private constructor(root: string) {
    this.root = root;
    const libraries = ["usr/lib", "lib"].flatMap((directory) =>
      existsSync(`${root}/${directory}`)
        ? readdirSync(`${root}/${directory}`)
            .filter((name) => name.endsWith("-linux-gnu"))
            .map((name) => `${root}/${directory}/${name}`)
        : [],
    );
    const places = [POSTGRES_BIN, "usr/bin", "usr/sbin"].map((place) => `${root}/${place}`);
    this.env = {
      PATH: [...places, process.env["PATH"] ?? "/usr/bin"].join(":"),
      LD_LIBRARY_PATH: libraries.join(":"),
      LC_ALL: "C.UTF-8",
    };
  }

  static async unpack(hosts: Hosts): Promise<PeerPrograms> {
    const found = existsSync(PACKAGES) ? readdirSync(PACKAGES) : [];
    const packages = found.filter((name) => name.endsWith(".deb"));
    if (packages.length === 0)
      throw new Error(`no packages of peers in ${PACKAGES}: run \`bash .ci/peers\``);
    const root = `${hosts.directory}/peers`;
    mkdirSync(root);
    for (const name of packages) await runOrThrow(["dpkg", "-x", `${PACKAGES}/${name}`, root]);
    return new PeerPrograms(root);
  }
}

/** Makes uids known by name on the lab's hosts: programs that ask who they are find an answer. `ip netns exec` lays the file over /etc. */
export function nameUsers(hosts: Hosts, users: { readonly [name: string]: number }): void {
  const lines = Object.entries(users).map(
    ([name, uid]) => `${name}:x:${uid}:${uid}::${hosts.directory}:/bin/sh`,
  );
  const passwd = `${readFileSync("/etc/passwd", "utf8").trimEnd()}\n${lines.join("\n")}\n`;
  for (const host of HOST_NAMES)
    writeFileSync(`/etc/netns/${hosts.namespaceOf(host)}/passwd`, passwd);
}
