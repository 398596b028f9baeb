//! What the CUDA decoder and the double refuse.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_cuda::{
    Argument, Capacity, Device, DeviceError, Graph, Kernel, Launch, Memory, Product, self_test,
};
use anchorhold_engine::{BlockId, Row};
use anchorhold_model::LoadError;
use common::*;

fn row<'a>(tokens: &'a [u32], start: usize, blocks: &'a [BlockId]) -> Row<'a> {
    Row { tokens, start, blocks }
}

#[test]
fn refuses_rows_that_do_not_fit() {
    let (model, _) = cuda(&tiny("llama"), Order::Forwards);
    let mut model = model.generator;
    assert_eq!((model.block(), model.context(), model.capacity()), (64, 128, 2048));
    let ids = |from: u32, count: usize| (from..).map(BlockId).take(count).collect::<Vec<_>>();
    let (one, long) = (ids(0, 1), vec![5; 129]);
    let mut code = |rows: &[Row<'_>]| model.step(rows).map_err(|error| error.code()).map(|_| ());
    assert_eq!(code(&[row(&[], 0, &one)]), Err("a row is empty"));
    assert_eq!(code(&[row(&[128], 0, &one)]), Err("a token is not in the vocabulary"));
    assert_eq!(code(&[row(&long, 0, &ids(0, 3))]), Err("a sequence is longer than the context"));
    assert_eq!(code(&[row(&[5], usize::MAX, &one)]), Err("a sequence is longer than the context"));
    let not_as_many = Err("a row has not as many blocks as its positions take");
    assert_eq!(code(&[row(&[5], 0, &[])]), not_as_many);
    assert_eq!(code(&[row(&[5], 64, &one)]), not_as_many);
    assert_eq!(code(&[row(&[5], 0, &ids(32, 1))]), Err("a block is not in the cache"));
    let used = Err("a block is written by one row and used by another");
    assert_eq!(code(&[row(&[5], 0, &one), row(&[6], 1, &one)]), used);
    assert_eq!(code(&[row(&[5], 0, &one), row(&[6], 64, &ids(0, 2))]), used);
    let tables: Vec<_> = (0..9).map(|at| ids(at, 1)).collect();
    let nine: Vec<_> = tables.iter().map(|table| row(&[5], 0, table)).collect();
    let too_many = Err("a step has more rows or tokens than the device has room for");
    assert_eq!(code(&nine), too_many);
    assert_eq!(code(&nine[..8]), Ok(()));
    assert_eq!(code(&[]), Ok(()));
}

fn refusal(folder: &std::path::Path, memory: usize) -> LoadError {
    match load_cuda(folder, Double::new(memory, Order::Forwards), CAPACITY) {
        Ok(_) => panic!("a model that must be refused was loaded"),
        Err(error) => error,
    }
}

#[test]
fn refuses_architectures_that_it_does_not_compute() {
    for family in ["gemma2", "gemma3", "mixtral", "qwen3-moe"] {
        let named = "only Llama, Mistral, Qwen2 and Qwen3 run on this device";
        assert_eq!(refusal(&tiny(family), 64 << 20), LoadError::Device(named.to_owned()));
    }
}

#[test]
fn refuses_a_model_for_which_there_is_no_memory() {
    for memory in [0, 1000, 100_000, 500_000] {
        let LoadError::Device(text) = refusal(&tiny("llama"), memory) else { panic!("another error") };
        assert!(text.contains("bytes of device memory are needed"), "{text}");
    }
}

#[test]
fn a_small_cache_makes_the_context_shorter() {
    let capacity = Capacity { cache_tokens: 64, ..CAPACITY };
    let model = load_cuda(&tiny("llama"), Double::new(64 << 20, Order::Forwards), capacity).unwrap();
    assert_eq!((model.context(), model.capacity()), (64, 64));
}

#[test]
fn the_double_refuses_what_a_device_would_do_wrongly() {
    let mut double = Double::new(1 << 20, Order::Forwards);
    let memory = double.allocate(1024).unwrap();
    let launch =
        |arguments| Launch { kernel: Kernel::AddBias, grid: [1, 1, 1], threads: 32, shared: 0, arguments };
    let (at, number) = (Argument::Address(memory.start()), Argument::Number(4));
    let refused = |reason| Err(DeviceError::Launch(reason));
    assert_eq!(double.launch(&launch(vec![at, at, at])), refused("wrong number of arguments"));
    assert_eq!(double.launch(&launch(vec![at, at, number, at])), refused("an argument is of another size"));
    let odd = Launch { threads: 33, ..launch(vec![at, at, at, number]) };
    assert_eq!(double.launch(&odd), refused("threads are not whole warps, or too many"));
    let elsewhere = Argument::Address(Memory::new(64, 64).start());
    assert_eq!(
        double.launch(&launch(vec![at, at, elsewhere, number])),
        refused("memory that was not allocated")
    );
    assert!(memory.part(1000, 25).is_err());
    assert_eq!(double.replay(Graph(0)), refused("there is no such graph"));
    // One line of as many features as there are words behind the end of the memory.
    double.send(memory, &1_u32.to_le_bytes()).unwrap();
    let end = Argument::Address(memory.part(1020, 4).unwrap().start());
    let bias = double.allocate(16).unwrap();
    double.send(bias, &1_f32.to_le_bytes().repeat(4)).unwrap();
    double.launch(&launch(vec![at, Argument::Address(bias.start()), end, number])).unwrap();
    let outside = refused("something was written outside of its memory");
    assert_eq!(double.read(memory, &mut [0; 4]), outside);
}

/// A device on which one kernel, or products, do nothing.
struct Broken(Double, Option<Kernel>);

impl Device for Broken {
    fn allocate(&mut self, bytes: usize) -> Result<Memory, DeviceError> {
        self.0.allocate(bytes)
    }
    fn shared_bytes(&self) -> u32 {
        self.0.shared_bytes()
    }
    fn free_bytes(&mut self) -> Result<usize, DeviceError> {
        self.0.free_bytes()
    }
    fn upload(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError> {
        self.0.upload(to, bytes)
    }
    fn send(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError> {
        self.0.send(to, bytes)
    }
    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        if self.1 == Some(launch.kernel) { Ok(()) } else { self.0.launch(launch) }
    }
    fn multiply(&mut self, product: &Product) -> Result<(), DeviceError> {
        if self.1.is_none() { Ok(()) } else { self.0.multiply(product) }
    }
    fn clear(&mut self, memory: Memory) -> Result<(), DeviceError> {
        self.0.clear(memory)
    }
    fn read(&mut self, from: Memory, into: &mut [u8]) -> Result<(), DeviceError> {
        self.0.read(from, into)
    }
    fn begin_recording(&mut self) -> Result<(), DeviceError> {
        self.0.begin_recording()
    }
    fn end_recording(&mut self) -> Result<Graph, DeviceError> {
        self.0.end_recording()
    }
    fn replay(&mut self, graph: Graph) -> Result<(), DeviceError> {
        self.0.replay(graph)
    }
}

#[test]
fn the_self_test_passes_and_finds_each_kernel_that_does_nothing() {
    for order in [Order::Forwards, Order::Backwards] {
        self_test(&mut Double::new(64 << 20, order)).unwrap();
    }
    for kernel in Kernel::ALL {
        let mut broken = Broken(Double::new(64 << 20, Order::Forwards), Some(*kernel));
        let error = self_test(&mut broken).unwrap_err();
        assert!(matches!(error, DeviceError::SelfTest(_)), "{kernel:?}: {error}");
    }
    let mut broken = Broken(Double::new(64 << 20, Order::Forwards), None);
    assert_eq!(self_test(&mut broken), Err(DeviceError::SelfTest("a matrix product")));
}
