/**
 * The handshake of every connection. Whoever connects says Hello; whoever accepts answers with its own Hello and
 * Accept or Refuse; then the first answers Accept or Refuse too. Nothing else is read before both have accepted.
 *
 * Bodies (after the frame header; later versions may only append to them):
 *   Hello   u32 magic, u8 lane, u8 zero, u16 wireVersionMin, u16 wireVersionMax, u64 deploymentId, 16 bytes hostId,
 *           16 bytes dataSetId, u32 incarnation, 8 bytes nonce, u64 recovered WAL sequence, text raftAddress
 *   Accept  nothing
 *   Refuse  text code, text detail
 */
import { type ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { errorText, isErrorCode, isOpError, OpError } from "../../shared/errors.js";
import { isUuid, type Target } from "../../shared/types/ids.js";
import { isAddress, parseAddress } from "./address.js";
import { beginFrame, FrameKind, sealFrame, WIRE_VERSION_MAX, WIRE_VERSION_MIN } from "./frame.js";
import type { Hello } from "./port.js";

/** "DRML" as little-endian u32. */
export const HELLO_MAGIC = 0x4c4d5244;
/** Frames of the handshake are refused above this. */
export const HANDSHAKE_BYTES_MAX = 2048;
const DETAIL_CHARS_MAX = 300;
const NONCE = /^[0-9a-f]{16}$/;

/** What a connection is for; fixed in its Hello. */
export const Lane = { Messages: 0, Snapshot: 1 } as const;
export type Lane = (typeof Lane)[keyof typeof Lane];

export interface Greeting {
  readonly lane: Lane;
  readonly hello: Hello;
}

/** What a host says of itself; the transport adds its address, and its versions when they are not given. */
export type LocalHello = Omit<Hello, "raftAddress" | "wireVersionMin" | "wireVersionMax"> &
  Partial<Pick<Hello, "wireVersionMin" | "wireVersionMax">>;

/** Throws DL_ERR_INVALID_ARGUMENT when an identity does not have its form. */
export function completeHello(local: LocalHello, raftAddress: string): Hello {
  const { deploymentId, hostId, dataSetId, incarnation, recoveredWalSequence } = local;
  if (!isUuid(hostId)) throw new OpError("DL_ERR_INVALID_ARGUMENT", `hostId ${hostId}, expected a UUID`);
  if (!isUuid(dataSetId)) throw new OpError("DL_ERR_INVALID_ARGUMENT", `dataSetId ${dataSetId}, expected a UUID`);
  if (!NONCE.test(incarnation.nonce)) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `nonce ${incarnation.nonce}, expected 16 hexadecimal digits`);
  }
  return {
    wireVersionMin: local.wireVersionMin ?? WIRE_VERSION_MIN,
    wireVersionMax: local.wireVersionMax ?? WIRE_VERSION_MAX,
    deploymentId,
    hostId,
    dataSetId,
    incarnation,
    recoveredWalSequence,
    raftAddress,
  };
}

/** The version in use between the two. */
export function commonVersion(local: Hello, peer: Hello): number {
  return Math.min(local.wireVersionMax, peer.wireVersionMax);
}

/** Throws the OpError with which a peer of another deployment or protocol is refused. */
export function checkCompatible(local: Hello, peer: Hello): void {
  if (local.deploymentId !== peer.deploymentId) {
    const detail = `deployment ${peer.deploymentId} at ${peer.raftAddress}, expected ${local.deploymentId}`;
    throw new OpError("DL_ERR_DEPLOYMENT_MISMATCH", detail);
  }
  const version = commonVersion(local, peer);
  if (version < local.wireVersionMin || version < peer.wireVersionMin) {
    const theirs = `${peer.wireVersionMin} to ${peer.wireVersionMax}`;
    const ours = `${local.wireVersionMin} to ${local.wireVersionMax}`;
    throw new OpError("DL_ERR_VERSION", `${peer.raftAddress} speaks wire versions ${theirs}, expected ${ours}`);
  }
}

/** Throws when someone else answers where `target` was expected. */
export function checkExpectedHost(target: Target, peer: Hello): void {
  if (isAddress(target) || peer.hostId === target) return;
  throw new OpError("DL_ERR_UNREACHABLE", `host ${peer.hostId} answers at ${peer.raftAddress}, expected ${target}`);
}

export function writeHello(w: ByteWriter, greeting: Greeting, crc: Crc32): void {
  const { hello, lane } = greeting;
  const start = beginFrame(w, FrameKind.Hello);
  w.u32(HELLO_MAGIC).u8(lane).u8(0).u16(hello.wireVersionMin).u16(hello.wireVersionMax).u64(hello.deploymentId);
  writeHex(w, hello.hostId.replaceAll("-", ""));
  writeHex(w, hello.dataSetId.replaceAll("-", ""));
  w.u32(hello.incarnation.counter);
  writeHex(w, hello.incarnation.nonce);
  w.u64(hello.recoveredWalSequence).text(hello.raftAddress);
  sealFrame(w, { start, end: w.length }, 0, crc);
}

export function readHello(r: ByteReader): Greeting {
  if (r.u32() !== HELLO_MAGIC) throw new MalformedError("not a hello");
  const lane = r.u8();
  if (lane !== Lane.Messages && lane !== Lane.Snapshot) throw new MalformedError(`unknown lane ${lane}`);
  r.u8();
  const wireVersionMin = r.u16();
  const wireVersionMax = r.u16();
  const deploymentId = r.u64();
  const hostId = uuidText(readHex(r, 16));
  const dataSetId = uuidText(readHex(r, 16));
  const incarnation = { counter: r.u32(), nonce: readHex(r, 8) };
  const recoveredWalSequence = r.u64();
  const raftAddress = r.text();
  if (wireVersionMin > wireVersionMax) throw new MalformedError("wire versions are the wrong way round");
  checkRaftAddress(raftAddress);
  const ids = { deploymentId, hostId, dataSetId, incarnation };
  return { lane, hello: { wireVersionMin, wireVersionMax, ...ids, recoveredWalSequence, raftAddress } };
}

function checkRaftAddress(text: string): void {
  try {
    if (parseAddress(text).port > 0) return;
  } catch {
    // The same answer as for port 0.
  }
  throw new MalformedError("hello without a usable address");
}

export function writeAccept(w: ByteWriter, crc: Crc32): void {
  const start = beginFrame(w, FrameKind.Accept);
  sealFrame(w, { start, end: w.length }, 0, crc);
}

export function writeRefuse(w: ByteWriter, error: OpError, crc: Crc32): void {
  const start = beginFrame(w, FrameKind.Refuse);
  writeError(w, error);
  sealFrame(w, { start, end: w.length }, 0, crc);
}

export function writeError(w: ByteWriter, error: OpError): void {
  w.text(error.code).text(error.message.slice(0, DETAIL_CHARS_MAX));
}

/** Begins what the other side said in an error. */
export const PEER_ANSWERED = "the peer answered: ";

/** An error as the other side gave it. A code this version does not know becomes DL_ERR_REJECTED. */
export function readError(r: ByteReader): OpError {
  const code = r.text();
  const detail = r.text();
  if (isErrorCode(code)) return new OpError(code, `${PEER_ANSWERED}${detail}`);
  return new OpError("DL_ERR_REJECTED", `the peer answered ${code.slice(0, 64)}: ${detail}`);
}

/** Whatever was thrown, as an answer to a peer. */
export function toOpError(error: unknown): OpError {
  if (isOpError(error)) return error;
  if (error instanceof MalformedError) return new OpError("DL_ERR_MALFORMED", error.message);
  return new OpError("DL_ERR_REJECTED", errorText(error), { cause: error });
}

/** One small frame alone in its own bytes. */
export function singleFrame(kind: FrameKind, durableSequence: number, crc: Crc32): Uint8Array {
  const w = new ByteWriter(32);
  const start = beginFrame(w, kind);
  sealFrame(w, { start, end: w.length }, durableSequence, crc);
  return w.finish();
}

function writeHex(w: ByteWriter, digits: string): void {
  for (let i = 0; i < digits.length; i += 2) w.u8(Number.parseInt(digits.slice(i, i + 2), 16));
}

function readHex(r: ByteReader, count: number): string {
  let digits = "";
  for (let i = 0; i < count; i++) digits += r.u8().toString(16).padStart(2, "0");
  return digits;
}

function uuidText(d: string): string {
  return `${d.slice(0, 8)}-${d.slice(8, 12)}-${d.slice(12, 16)}-${d.slice(16, 20)}-${d.slice(20)}`;
}
