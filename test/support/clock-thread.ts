// A thread that tells what time its loop has, and ends.
import { Loop } from "../../agent/os/loop.ts";

declare function postMessage(timeMs: number): void;

postMessage(new Loop({ usesUring: false }).nowMs());
