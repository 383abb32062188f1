/** Runs the `dhara` command in this process, for what ends by itself. */
import { main } from "../../cli.ts";
import type { Outcome } from "./dhara.ts";

/** Runs the command; returns what it has printed and its exit code. */
export async function inProcess(args: string[]): Promise<Outcome> {
  const output = { stdout: "", stderr: "" };
  const { log, error } = console;
  console.log = (text) => void (output.stdout += text + "\n");
  console.error = (text) => void (output.stderr += text + "\n");
  try {
    return { code: await main(args), ...output };
  } finally {
    Object.assign(console, { log, error });
  }
}
