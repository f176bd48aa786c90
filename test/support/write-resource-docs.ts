// `npm run docs`: writes docs/resources.md from the schemas. agent/api/resource-docs.test.ts fails when it is stale.
import { resourceDocs } from "../../agent/api/resource-docs.ts";

await Bun.write(new URL("../../docs/resources.md", import.meta.url), resourceDocs());
