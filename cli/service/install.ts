// Makes this host's agent a service of systemd: executable, units, user, state directory, then started. Everything can be done
// again: what is as it should be stays as it is.
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { CommandFailure } from "../failure.ts";
import { runOrFail } from "./system.ts";
import {
  AGENT_CONFIG,
  AGENT_CONFIG_TEXT,
  AGENT_FILES,
  AGENT_UNIT,
  AGENT_USER,
  EXECUTABLE,
  REDIRECT_UNIT,
  SYSUSERS,
  TMPFILES,
} from "./unit-files.ts";

const LOOK = `\`journalctl -u ${AGENT_UNIT} -n 50\` says why`;
const AGAIN = "mend it, then: meshctl join with a new token";

/** Why this host cannot have the service, before anything is changed; undefined: it can. */
export function refuseInstall(): CommandFailure | undefined {
  const [, script = ""] = process.argv;
  if (!script.startsWith("/$bunfs/"))
    return new CommandFailure(
      "only the built executable can install itself as a service",
      "build it (`npm run build`), or join with --no-service and run the agent yourself",
    );
  const directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
  const has = (name: string): boolean => directories.some((d) => existsSync(`${d}/${name}`));
  if (has("nft") || (has("iptables") && has("ipset"))) return undefined;
  return new CommandFailure(
    "the redirect needs nft, or iptables and ipset, and this host has neither",
    "Debian: apt-get install nftables",
  );
}

/** The state directory must be filled: the host has joined. Ends when the agent says that it is up. */
export function installService(stateDir: string): void {
  installExecutable();
  for (const { path, text } of AGENT_FILES) writeWhole(path, text);
  if (!existsSync(AGENT_CONFIG)) writeWhole(AGENT_CONFIG, AGENT_CONFIG_TEXT);
  runOrFail(AGAIN, "systemd-sysusers", SYSUSERS);
  // Links in it are not followed: what the agent's user may write, it must not use against root.
  runOrFail(AGAIN, "chown", "-hR", `${AGENT_USER}:${AGENT_USER}`, stateDir);
  runOrFail(AGAIN, "systemd-tmpfiles", "--create", TMPFILES);
  runOrFail(AGAIN, "systemctl", "daemon-reload");
  runOrFail(AGAIN, "systemctl", "enable", "--quiet", REDIRECT_UNIT, AGENT_UNIT);
  runOrFail(LOOK, "systemctl", "restart", AGENT_UNIT);
}

/** By rename: a running executable keeps its file, and no moment has half of one. */
function installExecutable(): void {
  if (existsSync(EXECUTABLE) && realpathSync(EXECUTABLE) === realpathSync(process.execPath)) return;
  mkdirSync(dirname(EXECUTABLE), { recursive: true, mode: 0o755 });
  const draft = `${EXECUTABLE}.new`;
  copyFileSync(process.execPath, draft);
  chmodSync(draft, 0o755);
  flush(draft);
  renameSync(draft, EXECUTABLE);
  flush(dirname(EXECUTABLE));
}

function writeWhole(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const draft = `${path}.new`;
  writeFileSync(draft, text, { mode: 0o644 });
  chmodSync(draft, 0o644);
  flush(draft);
  renameSync(draft, path);
  flush(dirname(path));
}

function flush(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
