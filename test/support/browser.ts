// Debian's Chromium, driven by playwright-core. It trusts no certificate but what this mesh's CA stands in the chain of, so
// what is tested is not a browser that believes anybody.
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import type { ServerAddress } from "./config-server-client.ts";

export const CHROMIUM = "/usr/bin/chromium";

export interface Browser {
  readonly page: Page;
  /** Whatever the page complained of: console errors, refused loads, uncaught errors. */
  readonly complaints: string[];
  /** Every URL it asked for. */
  readonly asked: string[];
  close(): Promise<void>;
}

export async function openBrowser(
  server: ServerAddress,
  look: {
    readonly colorScheme?: "light" | "dark";
    readonly viewport?: { width: number; height: number };
  } = {},
): Promise<Browser> {
  const directory = mkdtempSync(join(tmpdir(), "ironmesh-chromium-"));
  const browser = await launchBrowser(directory, {
    ...look,
    args: [`--ignore-certificate-errors-spki-list=${caKeyHash(server)}`],
  });
  return {
    ...browser,
    close: async () => {
      await browser.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** With its profile in `directory`; `executable`: what runs Chromium with the words it is given, itself if nothing is said. */
export async function launchBrowser(
  directory: string,
  how: {
    readonly colorScheme?: "light" | "dark";
    readonly viewport?: { width: number; height: number };
    readonly args?: readonly string[];
    readonly executable?: string;
    readonly env?: { readonly [name: string]: string };
  },
): Promise<Browser> {
  const context: BrowserContext = await chromium.launchPersistentContext(directory, {
    executablePath: how.executable ?? CHROMIUM,
    headless: true,
    colorScheme: how.colorScheme ?? "light",
    viewport: how.viewport ?? { width: 1440, height: 860 },
    env: { ...process.env, ...how.env },
    args: [
      "--no-sandbox", // the tests run as root
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...(how.args ?? []),
    ],
  });
  const page = context.pages()[0] ?? (await context.newPage());
  const complaints: string[] = [];
  const asked: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => asked.push(request.url()));
  page.on("websocket", (socket) => asked.push(socket.url()));
  return {
    page,
    complaints,
    asked,
    close: () => context.close(),
  };
}

/** SHA-256, base64, of the mesh CA's key: the browser takes a chain that holds it, whatever leaf a restart brings. */
function caKeyHash({ trustBundle }: ServerAddress): string {
  const key = new X509Certificate(trustBundle[0] ?? "").publicKey;
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest("base64");
}
