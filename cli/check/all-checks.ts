// All checks, in the order in which they are told.
import { checkAgent } from "./checks/agent.ts";
import { checkClock } from "./checks/clock.ts";
import { checkConntrack } from "./checks/conntrack.ts";
import { checkGossip } from "./checks/gossip.ts";
import { checkHost } from "./checks/host.ts";
import { checkKernel } from "./checks/kernel.ts";
import { checkLeftovers } from "./checks/leftovers.ts";
import { checkNames } from "./checks/names.ts";
import { checkPorts } from "./checks/ports.ts";
import { checkRedirect } from "./checks/redirect.ts";
import { checkServer } from "./checks/server.ts";
import { checkTrust } from "./checks/trust.ts";
import { checkWorkloads } from "./checks/workloads.ts";
import type { Facts } from "./facts.ts";
import type { Finding } from "./finding.ts";

const CHECKS: readonly ((facts: Facts) => readonly Finding[])[] = [
  checkHost,
  checkKernel,
  checkConntrack,
  checkAgent,
  checkPorts,
  checkServer,
  checkClock,
  checkTrust,
  checkNames,
  checkGossip,
  checkRedirect,
  checkLeftovers,
  checkWorkloads,
];

export const findingsOf = (facts: Facts): readonly Finding[] =>
  CHECKS.flatMap((check) => check(facts));
