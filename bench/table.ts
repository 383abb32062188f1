/** What a benchmark prints: who was measured, with how many objects, and the figures. */
export interface Result {
  peer: string;
  n: number;
  [figure: string]: string | number;
}

const NOTES = [
  "btree_lookup_and_read, and the accounts everywhere else: a PersistentDict stands in for a BTree.",
  "crawl_object_through_server: records loaded and decoded, without making objects of them.",
  "small_commit_through_server_synced: there the peer does not sync.",
];

/** Figures of ours that a peer has under another name, since its work is not quite the same. */
const COUNTERPARTS: Record<string, string> = {
  small_commit_through_server_synced: "small_commit_through_server_not_synced",
};

function unit(figure: string): string {
  if (figure.endsWith("_ms")) return "ms";
  return figure.includes("_bytes") ? "bytes" : "µs";
}

function number(value: number): string {
  return value.toFixed(value < 10 ? 3 : value < 1000 ? 1 : 0);
}

/** Prints a result, beside a peer's if there is one. A ratio of 10 means ten times better than the peer. */
export function printTable(ours: Result, peer?: Result): void {
  const rows = [["", "", ours.peer, ...(peer ? [peer.peer, "ratio"] : [])]];
  for (const [figure, value] of Object.entries(ours)) {
    if (typeof value !== "number" || figure === "n") continue;
    const row = [figure, unit(figure), number(value)];
    if (peer) {
      const theirs = peer[figure] ?? peer[COUNTERPARTS[figure] ?? ""];
      row.push(
        ...(typeof theirs === "number"
          ? [number(theirs), `${(theirs / value).toFixed(1)}x`]
          : ["-", "-"]),
      );
    }
    rows.push(row);
  }
  const width = (column: number) =>
    Math.max(...rows.map((row) => row[column]!.length));
  const widths = rows[0]!.map((_, column) => width(column));
  for (const row of rows) {
    console.log(
      row.map((cell, i) =>
        i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)
      ).join("  ").trimEnd(),
    );
  }
  console.log(`\n${ours.n} objects${peer ? `, ${peer.n} of the peer` : ""}`);
  for (const note of NOTES) console.log(note);
}
