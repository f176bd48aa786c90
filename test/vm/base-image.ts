// The disk that every test machine begins with: a small Debian, made once and kept under the user's cache. Machines lay their own
// changes over it, so it is never written after it was made.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { runOrThrow } from "../../cli/demo/shell.ts";

const SUITE = "bookworm";
/** A plain Debian with what a person would have on a server: a firewall, SSH, Python (for Ansible), curl. */
const PACKAGES = [
  ...["systemd", "systemd-sysv", "dbus", "iproute2", "nftables", "procps", "curl"],
  ...["openssh-server", "python3-minimal", "python3-apt", "ca-certificates", "netcat-openbsd"],
];
/** Nothing here has a console or needs clean-up by the clock; each would make a boot slower. */
const MASKED = [
  ...["getty@tty1.service", "console-getty.service", "systemd-timesyncd.service"],
  ...["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"],
  ...["e2scrub_reap.service", "fstrim.timer", "ssh.service"],
];
const MAKE_MAX_MS = 600_000;

let made: Promise<string> | undefined;

/** Its directory; made by mmdebstrap (about half a minute) when it is not there. */
export function baseImage(): Promise<string> {
  made ??= makeBaseImage();
  return made;
}

async function makeBaseImage(): Promise<string> {
  const recipe = JSON.stringify([SUITE, PACKAGES, MASKED]);
  const name = `${SUITE}-${createHash("sha256").update(recipe).digest("hex").slice(0, 12)}`;
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "ironmesh", "vm");
  const directory = join(cache, name);
  if (existsSync(directory)) return directory;
  mkdirSync(cache, { recursive: true });
  // A killed run may have left a draft with this host's /dev mounted in it: never step over a mount.
  await runOrThrow(["sh", "-c", 'rm -rf --one-file-system "$1"/*', "sh", cache], {
    timeoutMs: MAKE_MAX_MS,
  });
  const draft = `${directory}.draft`;
  const include = `--include=${PACKAGES.join(",")}`;
  await runOrThrow(["mmdebstrap", "--quiet", "--variant=minbase", include, SUITE, draft], {
    timeoutMs: MAKE_MAX_MS,
  });
  for (const unit of MASKED) symlinkSync("/dev/null", join(draft, "etc/systemd/system", unit));
  rmSync(join(draft, "etc/systemd/system/default.target"), { force: true });
  symlinkSync(
    "/lib/systemd/system/multi-user.target",
    join(draft, "etc/systemd/system/default.target"),
  );
  writeFileSync(join(draft, "etc/machine-id"), ""); // each machine gets its own
  await runOrThrow([
    "sh",
    "-c",
    `rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/var/cache/apt/archives/*.deb`,
    "sh",
    draft,
  ]);
  renameSync(draft, directory);
  return directory;
}
