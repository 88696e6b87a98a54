/** Cyclic redundancy checks of 32 bits, bit-reversed, as TFRecord files (CRC-32C) and W&B files (CRC-32) use them. */
const POLYNOMIALS = { crc32: 0xedb88320, crc32c: 0x82f63b78 } as const;

const tables = Object.fromEntries(
  Object.entries(POLYNOMIALS).map(([name, polynomial]) => {
    const entry = (byte: number): number => {
      let value = byte;
      for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
      return value >>> 0;
    };
    return [name, Uint32Array.from({ length: 256 }, (_, byte) => entry(byte))];
  }),
) as Record<keyof typeof POLYNOMIALS, Uint32Array>;

export function crc(kind: keyof typeof POLYNOMIALS, bytes: Uint8Array): number {
  const table = tables[kind];
  let value = 0xffffffff;
  for (const byte of bytes) value = table[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
