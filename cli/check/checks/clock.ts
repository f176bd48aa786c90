// This host's clock against the config server's. Certificates are backdated by five minutes (BACKDATE_MS of agent/pki) and last a day.
import type { Facts } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";

const { ok, warning, error } = tellerOf("clock");

/** What certificates bear. */
export const AHEAD_MAX_MS = 300_000;
export const OFFSET_WARN_MS = 10_000;
/** Names as the kernel cuts them. */
const TIME_DAEMONS = [
  "systemd-timesyn",
  "chronyd",
  "ntpd",
  "openntpd",
  "ntpsec",
  "ptp4l",
  "phc2sys",
  "vmtoolsd",
  "VBoxService",
  "qemu-ga",
  "hv_kvp_daemon",
];
const SET = "timedatectl set-ntp true # or: chronyc makestep; ntpdate SERVER";

export function checkClock(facts: Facts): readonly Finding[] {
  return [
    ...facts.servers.flatMap(({ url, outcome }) => offset(url, outcome, facts.nowMs)),
    ...daemon(facts),
  ];
}

function offset(
  url: string,
  outcome: Facts["servers"][number]["outcome"],
  nowMs: number,
): readonly Finding[] {
  if (outcome.is === "not_trusted" && outcome.validMs !== undefined) {
    const [from, to] = outcome.validMs;
    const byMs = nowMs < from ? from - nowMs : nowMs - to;
    const side = nowMs < from ? "behind" : "ahead of";
    return [
      error(
        "offset",
        `${url} shows a certificate that is valid from ${iso(from)} to ${iso(to)}, and it is ${iso(nowMs)} here: this clock is at least ${seconds(byMs)} ${side} it, or that certificate was not renewed`,
        SET,
      ),
    ];
  }
  if (outcome.is !== "answered" || outcome.clock === undefined) return [];
  const { aheadMs, withinMs } = outcome.clock;
  const off = Math.max(0, Math.abs(aheadMs) - withinMs);
  const text = `${seconds(Math.abs(aheadMs))} ${aheadMs > 0 ? "behind" : "ahead of"} ${url}`;
  if (off >= AHEAD_MAX_MS)
    return [
      error(
        "offset",
        `this clock is ${text}: more than certificates bear, so peers refuse each other`,
        SET,
      ),
    ];
  if (off >= OFFSET_WARN_MS) return [warning("offset", `this clock is ${text}`, SET)];
  return [ok("offset", `within ${seconds(Math.abs(aheadMs) + withinMs)} of ${url}`)];
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
const iso = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+/, "");

function daemon({ processes }: Facts): readonly Finding[] {
  const found = processes.find(({ name }) => TIME_DAEMONS.includes(name));
  return found === undefined
    ? [
        warning(
          "daemon",
          "no program keeps this clock right",
          "apt-get install systemd-timesyncd # or chrony",
        ),
      ]
    : [ok("daemon", `${found.name} keeps it`)];
}
