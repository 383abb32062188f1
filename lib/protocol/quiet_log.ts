/**
 * A log that does not repeat itself: who makes the same mistake over and over
 * must not fill the disk.
 *
 * @module
 */

/** How important a line of the server's log is. */
export type LogLevel = "debug" | "info" | "error";

/** Takes the lines of a log. */
export type Log = (level: LogLevel, message: string) => void;

/** How long the same line is not repeated, in milliseconds. */
const PAUSE = 10_000;
/** How many different lines are remembered. */
const MOST = 1000;

/** Passes errors on, but not the same one again and again. */
export class QuietLog {
  #log: Log;
  #now: () => number;
  #lines = new Map<string, { since: number; kept: number }>();

  /** Wraps a log. */
  constructor(log: Log, now: () => number = Date.now) {
    this.#log = log;
    this.#now = now;
  }

  /** Logs a line as it is. */
  line(level: LogLevel, message: string): void {
    this.#log(level, message);
  }

  /**
   * Logs an error, unless there was one of the same kind a short while ago. The
   * next one that is logged tells how many were not.
   */
  error(message: string, kind = message): void {
    const now = this.#now();
    const last = this.#lines.get(kind);
    if (last !== undefined && now - last.since < PAUSE) {
      last.kept++;
      return;
    }
    if (this.#lines.size >= MOST) this.#lines.clear();
    this.#lines.set(kind, { since: now, kept: 0 });
    const kept = last === undefined || last.kept === 0
      ? ""
      : ` (and ${last.kept} more of this kind since)`;
    this.#log("error", message + kept);
  }
}
