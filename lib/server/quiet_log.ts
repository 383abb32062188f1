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

/** In which time only so many lines of a kind are passed on, in milliseconds. */
const PERIOD = 10_000;
/** How many those are. */
const MOST = 5;
/** How many kinds are remembered. */
const MOST_KINDS = 1000;

/** Passes errors on, but not the same one again and again. */
export class QuietLog {
  #log: Log;
  #now: () => number;
  #kinds = new Map<string, { since: number; passed: number; kept: number }>();

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
   * Logs an error, unless there were many of its kind a short while ago. The
   * next one that is logged tells how many were not. What differs in numbers
   * alone is of one kind.
   */
  error(message: string, kind = message): void {
    const now = this.#now();
    const key = kind.replace(/\d+/g, "0");
    const last = this.#kinds.get(key);
    if (last !== undefined && now - last.since < PERIOD) {
      if (last.passed < MOST) {
        last.passed++;
        this.#log("error", message);
      } else last.kept++;
      return;
    }
    if (this.#kinds.size >= MOST_KINDS) this.#kinds.clear();
    this.#kinds.set(key, { since: now, passed: 1, kept: 0 });
    const kept = last === undefined || last.kept === 0
      ? ""
      : ` (and ${last.kept} more of this kind before)`;
    this.#log("error", message + kept);
  }
}
