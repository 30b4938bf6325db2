/** The handshake between two simulated hosts, as bytes. Used by sim-link.ts and sim-transport.ts. */
import { ByteReader, ByteWriter } from "../../shared/codec/bytes.js";
import { OpError } from "../../shared/errors.js";
import type { Ending } from "./connection.js";
import { FRAME_HEADER_BYTES } from "./frame.js";
import { Lane, PEER_ANSWERED, readHello, toOpError, writeHello } from "./hello.js";
import type { Hello } from "./port.js";
import type { SimStation } from "./sim-world.js";

/** Both hosts read each other's hello, as bytes. Returns who refused and why, as the first one sees it. */
export function meet(
  local: SimStation,
  remote: SimStation,
  lane: Lane,
  expect: (peer: Hello) => void,
): Ending | undefined {
  const ours = overTheWire(local, lane);
  const theirs = overTheWire(remote, lane);
  try {
    remote.admit(ours, lane);
  } catch (cause) {
    remote.core.counters.refusedConnections += 1;
    const error = toOpError(cause);
    remote.core.refused(ours.hostId, error, false);
    return { error: new OpError(error.code, `${PEER_ANSWERED}${error.message}`), refusedBy: "peer" };
  }
  try {
    local.core.admit(theirs);
    expect(theirs);
  } catch (cause) {
    const error = toOpError(cause);
    local.core.counters.refusedConnections += 1;
    remote.core.refused(ours.hostId, error, true);
    if (lane === Lane.Snapshot) remote.freeSnapshotSlot();
    return { error, refusedBy: "us" };
  }
  local.core.learn(theirs);
  remote.core.learn(ours);
  remote.greeted(ours);
  return undefined;
}

/** What the other side reads when this one says hello. */
export function overTheWire(of: SimStation, lane: Lane): Hello {
  const w = new ByteWriter();
  writeHello(w, { hello: of.core.hello(), lane }, of.core.env.crc32);
  return readHello(new ByteReader(w.view(), FRAME_HEADER_BYTES)).hello;
}
