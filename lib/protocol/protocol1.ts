/**
 * The letters of protocol 1, which Durus' clients speak. `docs/protocol.md`
 * describes it.
 *
 * @module
 */

/** The number of this protocol. */
export const PROTOCOL_1 = 1;

/** What a server answers to a greeting in place of its protocol when it takes no more clients. */
export const NO_ROOM = 0;

/** The letters of the requests. */
export const Command = {
  version: 0x56, // V
  newOid: 0x4e, // N
  newOids: 0x4d, // M
  load: 0x4c, // L
  loadMany: 0x42, // B
  sync: 0x53, // S
  commit: 0x43, // C
  pack: 0x50, // P
  quit: 0x51, // Q
  end: 0x2e, // .
} as const;

/** The letters of the answers. */
export const Status = {
  okay: 0x4f, // O
  unknown: 0x4b, // K
  invalid: 0x49, // I
} as const;
