// The page in a real browser, against a real config server whose hosts tell of traffic over real sessions. Full tier: Chromium is
// large (`.ci/setup full` installs it).
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Page } from "playwright-core";
import { type Browser, openBrowser } from "../support/browser.ts";
import { ReportingMesh, sample } from "../support/reporting-mesh.ts";

const TIMEOUT_MS = 60_000;

async function logIn({ page }: Browser, mesh: ReportingMesh): Promise<void> {
  await page.goto(`${mesh.registry.url}/`);
  await page.fill("#token", mesh.operatorToken);
  await page.click("button[type=submit]");
  await page.waitForSelector(".sentence:not(:empty)");
}

const textOf = (page: Page, selector: string): Promise<string> => page.innerText(selector);
/** Runs in the page, whose types the tests do not have. */
interface StyledWindow {
  getComputedStyle(element: unknown): { getPropertyValue(name: string): string };
}
/** What a person sees: `rgb(r, g, b)`. */
const colour = (page: Page, selector: string, property: string): Promise<string> =>
  page.$eval(
    selector,
    (element, name) =>
      (globalThis as unknown as StyledWindow).getComputedStyle(element).getPropertyValue(name),
    property,
  );

/** WCAG 2.2 contrast ratio. */
function contrast(a: string, b: string): number {
  const luminance = (text: string): number => {
    const [red = 0, green = 0, blue = 0] = (text.match(/\d+/g) ?? []).map((part) => {
      const share = Number(part) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

describe("a shop of six services", () => {
  let mesh: ReportingMesh;
  let browser: Browser;
  beforeAll(async () => {
    mesh = await ReportingMesh.start();
    await mesh.declare("web", "visitor", "page", "cart");
    await mesh.declare("stock", "orders", "ledger", "idle");
    await mesh.join("web", "10.0.0.1", "visitor", "page", "cart");
    await mesh.join("stock", "10.0.0.2", "orders", "ledger", "idle");
    await mesh.steady({
      web: [
        sample("visitor", "page"),
        sample("page", "cart"),
        sample("cart", "orders", {
          failed: 240,
          answers: [{ status: 503, flags: "UF", count: 240 }],
        }),
      ],
      stock: [sample("orders", "ledger", { security: "none" })],
    });
    browser = await openBrowser(mesh.registry);
  }, TIMEOUT_MS);
  afterAll(async () => {
    await browser.close();
    await mesh.close();
  }, TIMEOUT_MS);

  test(
    "a wrong token is told in words, the right one opens the graph",
    async () => {
      const { page } = browser;
      await page.goto(`${mesh.registry.url}/`);
      await page.fill("#token", "wrong");
      await page.click("button[type=submit]");
      await page.waitForSelector(".told:not(:empty)");
      expect(await textOf(page, ".told")).toBe("this is no operator's token");
      await logIn(browser, mesh);
      expect(await page.locator(".cards g").count()).toBe(5);
      expect(await page.evaluate("document.cookie")).toBe("");
    },
    TIMEOUT_MS,
  );

  test("what fails is red, and named in the bar, on its edge, in the list and in the title", async () => {
    const { page } = browser;
    expect(await textOf(page, ".sentence")).toBe("cart → orders is failing");
    expect(await page.title()).toBe("✕ cart → orders is failing");
    expect(await textOf(page, ".troubles li")).toContain(
      "40 % failed, most by 503 UF (the endpoint could not be reached)",
    );
    expect(await page.locator(".label[data-health=failing] text").textContent()).toBe(
      "✕ 40 % failed",
    );
    expect(await colour(page, ".line[data-health=failing] .stroke", "stroke")).toBe(
      "rgb(196, 18, 47)",
    );
    expect(await page.locator(".line[data-health=failing]").count()).toBe(1);
  });

  test("each edge tells its rate, success and latency, and whether it is encrypted", async () => {
    const { page } = browser;
    const labels = await page.locator(".label[data-health=ok] text").allTextContents();
    expect(labels).toHaveLength(3);
    for (const label of labels) expect(label).toMatch(/^\d+\.\d\/s · 100 % · 9\.8 ms$/);
    const locks = page.locator(".labels .lock");
    expect(
      await locks.evaluateAll((all) => all.map((one) => one.getAttribute("data-mtls")).sort()),
    ).toEqual(["all", "all", "all", "none"]);
    expect(await page.locator(".edges tbody tr").count()).toBe(4);
    expect(await page.locator('.edges [aria-label="plaintext"]').count()).toBe(1);
  });

  test("a service without any call is listed and not drawn", async () => {
    expect(await textOf(browser.page, ".quiet .chip")).toBe("idle");
  });

  test("a click on a service shows its endpoints, policies and last changes; Escape goes back", async () => {
    const { page } = browser;
    await page.click('.cards g[aria-label^="orders"]');
    await page.waitForSelector(".endpoints tbody tr");
    const side = await textOf(page, ".side");
    for (const part of [
      "10.0.0.2:",
      "connected",
      "default/orders",
      "apply Workload default/orders",
      "CALLED BY",
      "cart",
      "plaintext",
    ])
      expect(side).toContain(part);
    expect(await page.locator(".cards g.selected").count()).toBe(1);
    expect(await page.locator(".cards g.dim").count()).toBe(2);
    await page.keyboard.press("Escape");
    await page.waitForSelector(".overview");
    expect(await page.locator(".cards g.dim").count()).toBe(0);
  });

  test("a keyboard is enough: services take the focus and open by Enter", async () => {
    const { page } = browser;
    await page.focus('.cards g[aria-label^="page"]');
    await page.keyboard.press("Enter");
    await page.waitForSelector(".detail");
    expect(await textOf(page, ".detail h2")).toBe("page");
    await page.keyboard.press("Escape");
  });

  test("finding a service dims the others", async () => {
    const { page } = browser;
    await page.fill("input[type=search]", "ledger");
    expect(await page.locator(".cards g:not(.dim)").count()).toBe(2); // and its caller
    await page.fill("input[type=search]", "");
    expect(await page.locator(".cards g.dim").count()).toBe(0);
  });

  test("light and dark by the system's wish, each legible", async () => {
    const { page } = browser;
    const grounds: string[] = [];
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      const ground = await colour(page, "body", "background-color");
      grounds.push(ground);
      const card = await colour(page, ".cards .card", "fill");
      expect(contrast(await colour(page, "body", "color"), ground)).toBeGreaterThan(7);
      expect(contrast(await colour(page, ".cards .sub", "fill"), card)).toBeGreaterThan(4.5);
      const failing = ".label[data-health=failing]";
      const pill = await colour(page, `${failing} rect`, "fill");
      expect(contrast(await colour(page, `${failing} text`, "fill"), pill)).toBeGreaterThan(4.5);
    }
    expect(new Set(grounds).size).toBe(2);
  });

  test(
    "new traffic shows by itself",
    async () => {
      const { page } = browser;
      await mesh.steady({ web: [sample("page", "idle")] });
      await page.waitForSelector('.cards g[aria-label^="idle: well"]');
      expect(await page.locator(".quiet").isVisible()).toBe(false);
    },
    TIMEOUT_MS,
  );

  test(
    "the browser asks nobody but the server, complains of nothing, and runs no script that is put in",
    async () => {
      const { page, asked, complaints } = browser;
      const { host } = new URL(mesh.registry.url);
      expect(asked.filter((url) => new URL(url).host !== host)).toEqual([]);
      expect(asked.some((url) => url.startsWith(`wss://${host}/dashboard/live?`))).toBe(true);
      // Asked before the login, and answered by the wrong token.
      expect(complaints.filter((text) => !text.includes("401 (Unauthorized)"))).toEqual([]);
      await page.addScriptTag({ content: "document.title = 'taken'" }).catch(() => undefined);
      expect(await page.title()).not.toBe("taken");
      const assigned = await page.evaluate(
        "try { document.body.innerHTML = '<b>x</b>'; 'parsed' } catch (error) { error.name }",
      );
      expect(assigned).toBe("TypeError");
    },
    TIMEOUT_MS,
  );

  test(
    "logging out closes the door, also in another window",
    async () => {
      const { page } = browser;
      const other = await page.context().newPage();
      await other.goto(`${mesh.registry.url}/dashboard/`);
      await other.waitForSelector(".mesh");
      await page.click("text=Log out");
      await page.waitForSelector("#token");
      await other.waitForSelector("#token");
      expect(await other.innerText(".told")).toBe("Your session is over: log in again.");
      await other.close();
    },
    TIMEOUT_MS,
  );
});

test(
  "no service at all: the page says what to do next",
  async () => {
    const mesh = await ReportingMesh.start();
    const browser = await openBrowser(mesh.registry);
    await logIn(browser, mesh);
    expect(await textOf(browser.page, ".empty")).toContain("No service is declared yet");
    expect(await textOf(browser.page, ".sentence")).toBe("No traffic");
    await browser.close();
    await mesh.close();
  },
  TIMEOUT_MS,
);

test(
  "a server that goes away is told; one that comes again asks for the token again",
  async () => {
    const mesh = await ReportingMesh.start();
    const browser = await openBrowser(mesh.registry);
    await logIn(browser, mesh);
    await mesh.registry.close();
    await browser.page.waitForSelector(".mesh.stale");
    expect(await textOf(browser.page, ".sentence")).toBe(
      "The server does not answer; shown is what it said last",
    );
    await mesh.restart();
    await browser.page.waitForSelector("#token");
    await browser.page.fill("#token", mesh.operatorToken);
    await browser.page.click("button[type=submit]");
    await browser.page.waitForSelector(".empty h2");
    await mesh.close();
    await browser.close();
  },
  TIMEOUT_MS,
);

test(
  "a hundred services are drawn at once, none on top of another, and each can be read when chosen",
  async () => {
    const mesh = await ReportingMesh.start();
    const names = Array.from({ length: 100 }, (_, i) => `service-${i}`);
    const told: Record<string, ReturnType<typeof sample>[]> = {};
    for (let host = 0; host < 10; host++) {
      const own = names.slice(host * 10, host * 10 + 10);
      await mesh.declare(`vm${host}`, ...own);
      await mesh.join(`vm${host}`, `10.0.1.${host + 1}`, ...own);
      told[`vm${host}`] = own.flatMap((name, i) => {
        const at = host * 10 + i;
        const called = [at + 13, at + 29, at * 2 + 1].filter((to) => to < 100);
        return [...new Set(called)].map((to) => sample(name, names[to] ?? ""));
      });
    }
    await mesh.steady(told);
    const browser = await openBrowser(mesh.registry);
    const { page } = browser;
    await logIn(browser, mesh);
    const boxes = await page.locator(".cards g .card").evaluateAll((all) =>
      all.map((one) => {
        const { left, top, right, bottom } = one.getBoundingClientRect();
        return { left, top, right, bottom };
      }),
    );
    expect(boxes).toHaveLength(100);
    for (const [i, a] of boxes.entries())
      for (const b of boxes.slice(i + 1))
        expect(
          a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top,
        ).toBe(true);
    const stage = await page.locator("svg.graph").boundingBox();
    for (const { left, right, top, bottom } of boxes) {
      expect(left).toBeGreaterThanOrEqual((stage?.x ?? 0) - 1);
      expect(right).toBeLessThanOrEqual((stage?.x ?? 0) + (stage?.width ?? 0) + 1);
      expect(top).toBeGreaterThanOrEqual((stage?.y ?? 0) - 1);
      expect(bottom).toBeLessThanOrEqual((stage?.y ?? 0) + (stage?.height ?? 0) + 1);
    }
    await page.click('.cards g[aria-label^="service-42:"]');
    await page.waitForSelector(".detail");
    const chosen = await page.locator(".cards g.selected .card").boundingBox();
    expect(chosen?.width ?? 0).toBeGreaterThan(60);
    expect(await page.locator(".label.near").count()).toBeGreaterThan(1);
    expect(browser.complaints.filter((text) => !text.includes("401"))).toEqual([]);
    await browser.close();
    await mesh.close();
  },
  TIMEOUT_MS,
);
