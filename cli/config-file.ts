// A file of options, for services: what would stand on the command line, one option a line and without its dashes. The same
// parser judges both, so a file can say nothing that a command line cannot, and nothing in it is ever ignored.
//
//   # /etc/ironmesh/agent.conf
//   metrics 10.0.0.5:15020
//   no-dns
import { readFileSync, statSync } from "node:fs";
import { usage } from "./failure.ts";

const FILE_BYTES_MAX = 65_536;
const LINE = /^([a-z][a-z0-9-]*)(?:\s+(\S.*))?$/;

/** The file's options as words of a command line. Throws with the line that is none. */
export function wordsOfConfigFile(path: string): string[] {
  return read(path)
    .split("\n")
    .flatMap((text, index) => {
      const line = text.trim();
      if (line === "" || line.startsWith("#")) return [];
      const [, name, value] = LINE.exec(line) ?? [];
      if (name === undefined)
        throw usage(
          `${path}:${index + 1}: ${JSON.stringify(line.slice(0, 80))} is no option`,
          "write `name value`, as on the command line without the dashes, or `# a comment`",
        );
      if (name === "config" || name === "check-config")
        throw usage(`${path}:${index + 1}: a file of options cannot name another one`);
      return value === undefined ? [`--${name}`] : [`--${name}=${value}`];
    });
}

function read(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > FILE_BYTES_MAX)
      throw usage(`${path} has ${size} bytes: a file of options has at most ${FILE_BYTES_MAX}`);
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw usage(`${path} cannot be read: ${code}`, "name an existing file of options");
  }
}
