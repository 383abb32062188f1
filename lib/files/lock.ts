/**
 * One writer at a time: the lock on a journal, and who holds it.
 *
 * @module
 */

/** `FsFile.tryLockSync`, which not every Deno has that we run on. */
interface TryLock {
  tryLockSync?(exclusive: boolean): boolean;
}

/** What this process has locked. */
const held = new Set<string>();

/** Takes the lock on an open file, if nobody has it; returns whether it did. */
export function lockExclusively(file: Deno.FsFile, identity: string): boolean {
  if (held.has(identity)) return false;
  const { tryLockSync } = file as TryLock;
  if (tryLockSync !== undefined) {
    if (!tryLockSync.call(file, true)) return false;
  } else {
    // Here `lockSync` would wait, for as long as the other one likes.
    if (holderOf(identity) !== undefined) return false;
    file.lockSync(true);
  }
  if (identity !== "") held.add(identity);
  return true;
}

/**
 * Gives the lock back. Closing the file is not enough: a process that another
 * thread is just starting has a copy of it, and of the lock, until it runs.
 */
export function unlock(file: Deno.FsFile, identity: string): void {
  held.delete(identity);
  file.unlockSync();
}

/**
 * Returns the number of the process that holds the lock on a file, as far as
 * the system tells us (Linux does, unless permissions forbid it).
 */
export function holderOf(identity: string): number | undefined {
  const [device, inode] = identity.split(":").map(Number);
  let sameInode: number | undefined;
  for (const line of readProc("/proc/locks").split("\n")) {
    // 7: FLOCK  ADVISORY  WRITE 7502 fe:00:2148023 0 EOF
    const found = line.match(
      /^\d+: FLOCK +\S+ +WRITE +(\d+) +([0-9a-f]+):([0-9a-f]+):(\d+) /,
    );
    if (found === null || Number(found[4]) !== inode) continue;
    const major = parseInt(found[2]!, 16);
    const minor = parseInt(found[3]!, 16);
    if (deviceNumber(major, minor) === device) return Number(found[1]);
    // Some file systems show one device here and another one there.
    sameInode = Number(found[1]);
  }
  return sameInode;
}

/** Returns a name for who holds the lock on a file: `process 12 (deno run x.ts)`. */
export function describeHolder(identity: string): string {
  if (held.has(identity)) return "this process";
  const pid = holderOf(identity);
  if (pid === undefined) return "another process";
  if (pid === Deno.pid) return "this process";
  const [program, ...rest] = readProc(`/proc/${pid}/cmdline`).split("\0");
  const command = [program!.replace(/^.*\//, ""), ...rest].join(" ")
    // deno-lint-ignore no-control-regex
    .replaceAll(/[\x00-\x1f\x7f]+/g, " ").trim();
  const shown = command.length > 200 ? `${command.slice(0, 200)}...` : command;
  return shown === "" ? `process ${pid}` : `process ${pid} (${shown})`;
}

function deviceNumber(major: number, minor: number): number {
  return (minor & 0xff) + (major & 0xfff) * 2 ** 8 +
    ((minor & ~0xff) >>> 0) * 2 ** 12;
}

function readProc(path: string): string {
  if (Deno.build.os !== "linux") return "";
  try {
    // Asking first, since reading might ask the user.
    const permission = Deno.permissions.querySync({ name: "read", path });
    return permission.state === "granted" ? Deno.readTextFileSync(path) : "";
  } catch {
    return "";
  }
}
