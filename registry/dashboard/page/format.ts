// Figures as people read them; the same words as meshctl prints.
import type { EdgeView, Figures, Health, NodeView } from "../../../agent/api/edges.ts";

const decimal = (value: number): string => {
  if (value > 0 && value < 0.05) return "<0.1";
  return value >= 100 || value === 0 ? String(Math.round(value)) : value.toFixed(1);
};

export function bytesText(bytes: number): string {
  if (bytes < 1_000) return `${Math.round(bytes)} B`;
  if (bytes < 1_000_000) return `${(bytes / 1_000).toFixed(1)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** Requests a second; bytes where there are only connections. */
export function rateText({
  requestsPerSecond,
  sentBytesPerSecond,
  receivedBytesPerSecond,
}: Figures): string {
  if (requestsPerSecond > 0) return `${decimal(requestsPerSecond)}/s`;
  return `${bytesText(sentBytesPerSecond + receivedBytesPerSecond)}/s`;
}

/** Never rounded up to 100 %: a single failure shows. */
export function successText({ successRatio }: Figures): string {
  if (successRatio === undefined) return "–";
  if (successRatio === 1) return "100 %";
  const percent = Math.min(99.99, Math.floor(successRatio * 10_000 + 0.01) / 100);
  return `${percent >= 99 ? percent.toFixed(2) : percent.toFixed(1)} %`;
}

export function msText(ms: number | undefined): string {
  if (ms === undefined) return "–";
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

export const HEALTH_WORDS: Readonly<Record<Health, string>> = {
  ok: "well",
  degraded: "degraded",
  failing: "failing",
  idle: "no traffic",
};

export const LOCK_WORDS: Readonly<Record<EdgeView["mtls"], string>> = {
  all: "mutual TLS",
  some: "partly plaintext",
  none: "plaintext",
  unknown: "nothing was sent",
};

export function agoText(atMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

export const shortened = (text: string, charsMax: number): string =>
  text.length <= charsMax ? text : `${text.slice(0, charsMax - 1)}…`;

export const nameOf = ({ kind, name }: NodeView): string =>
  kind === "host" ? `host ${name}` : name;
