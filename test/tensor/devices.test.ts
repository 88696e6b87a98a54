/** Where tensors live. What a GPU adds runs where there is one. */
import { native } from '../../src/native';
import { defaultDevice, deviceInfo, evaluate, full, gradients, memory, ones, randomKey, randomUniform, setDefaultDevice, synchronize, tensor, zeros, zerosLike, type Device } from '../../src/tensor';

const cuda = deviceInfo('cuda');
const onBoth = cuda.available ? test : test.skip;

test('the CPU is there and says what it is', () => {
  expect(deviceInfo('cpu')).toMatchObject({ available: true });
});

test('a GPU that is not there is refused with the reason', () => {
  if (cuda.available) {
    expect(cuda).toMatchObject({ name: expect.any(String), computeCapability: expect.stringMatching(/^\d+\.\d$/) });
    return;
  }
  expect(cuda.reason!.length).toBeGreaterThan(10);
  for (const make of [() => tensor([1], { device: 'cuda' }), () => zeros([1], { device: 'cuda' }), () => tensor([1]).to('cuda'), () => setDefaultDevice('cuda')]) {
    expect(make).toThrow(`device 'cuda' cannot be used: ${cuda.reason}`);
  }
});

test('an unknown device is refused', () => {
  expect(() => tensor([1], { device: 'tpu' as never })).toThrow("tensor: expected device 'cpu' or 'cuda', got 'tpu'");
  expect(() => setDefaultDevice(3 as never)).toThrow("setDefaultDevice: expected device 'cpu' or 'cuda', got 3");
  expect(() => synchronize('tpu' as never)).toThrow("synchronize: expected device 'cpu' or 'cuda', got 'tpu'");
});

test('synchronize waits for a device, and leaves values as they are', () => {
  const y = tensor([1, 2, 3]).mul(2).realize();
  expect(synchronize()).toBeUndefined();
  synchronize('cpu');
  expect(y.toArray()).toEqual([2, 4, 6]);
});

test('the clock of a device: none on the CPU', () => {
  for (const call of [() => native().startTimer('cpu'), () => native().stopTimer('cpu')]) expect(call).toThrow('expected a GPU, which works while the host goes on, got cpu');
});

test('tensors are made on the default device', () => {
  const device = defaultDevice();
  expect(tensor([1]).device).toBe(device);
  expect(zeros([2]).device).toBe(device);
  expect(randomUniform([2], { key: randomKey(1) }).device).toBe(device);
  const before = setDefaultDevice('cpu');
  try {
    expect(before).toBe(device);
    expect(tensor([1]).device).toBe('cpu');
    expect(zeros([1]).realize().device).toBe('cpu');
  } finally {
    setDefaultDevice(before);
  }
});

test('to() the device a tensor is on gives the tensor itself', () => {
  const x = tensor([1, 2]);
  expect(x.to(x.device)).toBe(x);
});

onBoth('the clock of a GPU counts what is asked for while it runs', () => {
  const x = full([1 << 14], 2, { device: 'cuda' }).exp().realize();
  const time = (calls: number) => {
    native().startTimer('cuda');
    for (let i = 0; i < calls; i++) x.exp().realize().dispose();
    return native().stopTimer('cuda');
  };
  time(1);
  const [one, many] = [time(1), time(50)];
  expect(one.queued).toBe(true);
  expect(one.seconds).toBeGreaterThan(0);
  expect(many.seconds).toBeGreaterThan(one.seconds);
  expect(() => native().stopTimer('cuda')).toThrow('timer: expected a timer that was started');
});

onBoth('synchronize throws what failed in the queued work', () => {
  const x = tensor([1, 2, 3], { device: 'cuda' });
  const picked = x.gather(tensor([7], { dtype: 'int32', device: 'cuda' })).realize();
  expect(() => synchronize('cuda')).toThrow(/gather: .* 7 /);
  picked.dispose();
  synchronize('cuda');
});

describe('between the CPU and a GPU', () => {
  const on = (device: Device, ...values: number[]) => tensor(values, { device });

  onBoth('values travel, of every dtype and through views', () => {
    for (const dtype of ['float32', 'float64', 'bfloat16', 'int32', 'uint8', 'bool'] as const) {
      const x = tensor([[1, 0, 3], [4, 5, 6]], { dtype, device: 'cpu' });
      const there = x.to('cuda');
      expect(there.device).toBe('cuda');
      expect(there.dtype).toBe(dtype);
      expect(there.transpose().to('cpu').toArray()).toEqual(x.transpose().toArray());
    }
    expect(full([2], 3, { device: 'cpu' }).to('cuda').add(on('cuda', 1, 2)).toArray()).toEqual([4, 5]);
    expect(tensor([], { device: 'cpu' }).to('cuda').toArray()).toEqual([]);
  });

  onBoth('constants go with tensors on any device; other tensors do not mix', () => {
    const [here, there] = [on('cpu', 1, 2), on('cuda', 3, 4)];
    const one = ones([2]);
    expect(here.add(one).device).toBe('cpu');
    expect(there.add(one).toArray()).toEqual([4, 5]);
    expect(zerosLike(there).device).toBe('cuda');
    expect(() => here.add(there)).toThrow("add: expected tensors on one device, got one on 'cpu' and one on 'cuda': move one with to('cpu')");
    expect(() => here.expandDims(0).matmul(there.expandDims(1))).toThrow('matmul: expected tensors on one device');
  });

  onBoth('evaluate takes tensors of both', () => {
    const [here, there] = [on('cpu', 1, 2).mul(2), on('cuda', 3, 4).mul(2)];
    evaluate([here, there]);
    expect([here.toArray(), there.toArray()]).toEqual([[2, 4], [6, 8]]);
  });

  onBoth('a constant that was evaluated on one device is refused on the other', () => {
    const one = ones([2]).exp();
    const sum = on('cuda', 1, 2).add(one);
    const before = setDefaultDevice('cpu');
    try {
      one.realize();
    } finally {
      setDefaultDevice(before);
    }
    expect(() => sum.toArray()).toThrow("was evaluated on 'cpu' and is used on 'cuda'");
  });

  onBoth('gradients are where their tensors are, and equal', () => {
    const gradientOn = (device: Device) => {
      const x = tensor([[0.5, -1], [2, 3]], { device });
      const [g] = gradients(x.matmul(x).tanh().sum(), [x]);
      expect(g!.device).toBe(device);
      return g!.toArray() as number[][];
    };
    const [a, b] = [gradientOn('cpu').flat(), gradientOn('cuda').flat()];
    a.forEach((value, i) => expect(b[i]).toBeCloseTo(value, 5));
  });

  onBoth('random numbers are the same on both', () => {
    const draw = (device: Device) => randomUniform([1000], { key: randomKey(9), device }).toArray();
    expect(draw('cuda')).toEqual(draw('cpu'));
  });

  onBoth('memory counts both, and is given back', () => {
    const before = memory().bytes;
    const x = tensor(new Float32Array(1 << 16), { device: 'cuda' });
    expect(memory().bytes - before).toBe(1 << 18);
    x.dispose();
    expect(memory().bytes).toBe(before);
  });
});
