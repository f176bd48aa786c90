// What the demo needs from the machine, each lack told in one sentence with its remedy.
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { run } from "./shell.ts";

const TOOLS: readonly { readonly name: string; readonly from: string }[] = [
  { name: "ip", from: "iproute2" },
  { name: "iptables", from: "iptables" },
  { name: "nft", from: "nftables" },
  { name: "nsenter", from: "util-linux" },
  { name: "unshare", from: "util-linux" },
  { name: "setpriv", from: "util-linux" },
  { name: "mount", from: "mount" },
];

/** One sentence for everything that is missing; empty: the demo can run here. */
export async function missingRequirements(): Promise<string[]> {
  if (process.platform !== "linux")
    return ["The demo needs Linux: it makes its hosts from network namespaces."];
  if (process.getuid?.() !== 0)
    return [
      "The demo needs root, to make network namespaces and their rules: run it with sudo or as root.",
    ];
  const lacking = TOOLS.filter(({ name }) => pathOf(name) === undefined);
  if (lacking.length > 0) {
    const packages = [...new Set(lacking.map(({ from }) => from))].join(" ");
    return [
      `The demo needs ${lacking.map(({ name }) => name).join(", ")}: apt-get install -y ${packages}.`,
    ];
  }
  const probe = await run(["unshare", "--net", "--mount", "--uts", "true"]);
  if (probe.code === 0) return [];
  return [
    `The demo needs network, mount and host-name namespaces, and this machine refuses them (${probe.stderr.trim()}): in a container, start it privileged (docker run --privileged).`,
  ];
}

/** `su` and some services leave root without the places where its tools are. */
export function addSystemPaths(): void {
  process.env["PATH"] = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`;
}

export function pathOf(tool: string): string | undefined {
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((place) => join(place, tool))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
