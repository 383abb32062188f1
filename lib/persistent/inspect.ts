/**
 * How `console.log` and the shell show a persistent object:
 * `Account #12 { owner: "ada" }`.
 *
 * @module
 */
import { Hooks } from "./hooks.ts";
import { shownName, SLOT, type Slot, type Stored } from "./slot.ts";

type Inspect = (value: unknown, options: unknown) => string;

/** The objects that are being shown, from the outermost to the innermost. */
const shown: Slot[] = [];

/** So many persistent objects are shown inside each other. */
const DEPTH = 3;

/**
 * Makes all objects that inherit from `prototype` show themselves readably.
 *
 * The object that is asked for is loaded if it is a ghost. The objects that it
 * refers to are shown with their state if that is in memory, and never loaded,
 * so that a look at one object cannot load the whole graph.
 */
export function makeInspectable(prototype: Stored): void {
  const hooks = new Hooks(prototype);
  Object.defineProperty(prototype, Symbol.for("Deno.customInspect"), {
    value(this: { [SLOT]?: Slot }, inspect: Inspect, options: unknown): string {
      const slot = this[SLOT];
      // The prototype itself has the method, but is no object that can be stored.
      return slot ? show(slot, hooks, inspect, options) : "PersistentObject {}";
    },
    configurable: true,
    writable: true,
  });
}

function show(
  slot: Slot,
  hooks: Hooks,
  inspect: Inspect,
  options: unknown,
): string {
  const name = shownName(slot);
  const { _p_oid } = slot.self;
  const title = _p_oid === undefined ? name : `${name} #${_p_oid}`;
  if (shown.includes(slot) || shown.length >= DEPTH) return `[${title}]`;
  if (shown.length === 0) {
    try {
      slot.noteAccess();
    } catch (error) {
      return `${title} (${(error as Error).message})`;
    }
  }
  if (slot.status === "ghost") return `${title} (not loaded)`;
  shown.push(slot);
  try {
    const text = inspect(readable(slot, hooks), options);
    return `${title} ${text.replace(/^(Map|Set)\(\d+\) /, "")}`;
  } finally {
    shown.pop();
  }
}

/** The state as a value that is shown in the usual way. */
function readable(slot: Slot, hooks: Hooks): unknown {
  const { target } = slot;
  // Not the state itself: its symbol would be shown too.
  const state = Object.fromEntries(Object.entries(hooks.getState(slot)));
  const { entries, items } = state;
  if (Symbol.iterator in target && Object.keys(state).length === 1) {
    if (entries instanceof Map) return entries;
    if (Array.isArray(items)) return "add" in target ? new Set(items) : items;
  }
  return state;
}
