// systemd's naming of slices: a dash nests (systemd.slice(5)), so a-b.slice lives in a.slice/a-b.slice; and whether one is there.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

export function slicePath(slice: string): string {
  const parts = slice.replace(/\.slice$/, "").split("-");
  return parts.map((_, i) => `${parts.slice(0, i + 1).join("-")}.slice`).join("/");
}

export type SliceState =
  /** `cgroup`: its number in the kernel; made anew it has another, and rules hold the one that was. */
  | { readonly is: "here"; readonly cgroup: number }
  | { readonly is: "absent" }
  /** cgroups cannot be seen from here: the kernel will tell. */
  | { readonly is: "unknown" };

export function readSlice(slice: string, root = cgroupRoot()): SliceState {
  if (root === undefined) return { is: "unknown" };
  const found = statSync(join(root, slicePath(slice)), { throwIfNoEntry: false });
  return found === undefined ? { is: "absent" } : { is: "here", cgroup: found.ino };
}

/** Where the one hierarchy of cgroups v2 is mounted, which rules go by (proc_pid_mountinfo(5)). */
export function cgroupRoot(): string | undefined {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  return /^\S+ \S+ \S+ \/ (\S+) .* - cgroup2 /m.exec(mounts)?.[1];
}
