// The bookstore's page, asked for until nothing is missing on it.
import { askOnce } from "./parts/http-client.ts";
import { until } from "./until.ts";

/** Returns how many pages before it were not whole. `url`: the page's on this machine. */
export async function untilWholePage(what: string, url: string, withinMs: number): Promise<number> {
  const { hostname, port, pathname } = new URL(url);
  let last = "nothing";
  let asked = 0;
  const isWhole = async (): Promise<boolean> => {
    asked += 1;
    try {
      const reply = await askOnce(
        { host: hostname, port: Number(port) },
        { path: pathname, host: "productpage:9080" },
      );
      last = `status ${reply.status}: ${reply.body.slice(0, 600)}`;
      return reply.status === 200 && !reply.body.includes("Error fetching");
    } catch (cause) {
      last = String(cause);
      return false;
    }
  };
  await until(what, withinMs, isWhole, () => last);
  return asked - 1;
}
