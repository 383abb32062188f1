/**
 * Records to objects and back: the codec that connections use.
 *
 * @module
 */
export { Encoder, type ReferenceWriter } from "./encoder.ts";
export { Decoder, type ReferenceReader } from "./decoder.ts";
