//! Traces of a model whose numbers can be counted by hand: a Llama of two blocks, 32 wide, four query and two key heads of
//! eight elements, 64 between, 259 tokens, all in f32, the head tied.

use lowbit_engine::Model;
use lowbit_format::WeightSpec;
use lowbit_io::Access;
use lowbit_model::{Linears, Role};
use lowbit_sim::{Formats, Kind, Numbers, Op, Pass, Precision, matrix_bytes, of_shape, trace};
use lowbit_testing::{Template, tiny_gguf};

fn tiny() -> (Linears, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    tiny_gguf(Template::None).write(&path).unwrap();
    let (_, tensors) = Model::inspect(&path, Access::Map).unwrap();
    let bytes = tensors.iter().map(|tensor| tensor.bytes).sum();
    (Model::linears(&path, Access::Map).unwrap(), bytes)
}

fn ops(pass: Pass) -> Vec<Op> {
    trace(&tiny().0, &pass, Precision::Int16, 16.0).unwrap()
}

fn the(ops: &[Op], kind: Kind) -> Op {
    let found: Vec<&Op> = ops.iter().filter(|op| op.kind == kind).collect();
    assert_eq!(found.len(), 1, "{kind:?}: {found:?}");
    found[0].clone()
}

fn weight_bytes(ops: &[Op]) -> f64 {
    ops.iter().map(|op| op.bytes.weights * op.count as f64).sum()
}

#[test]
fn a_token_reads_and_computes_what_is_counted_by_hand() {
    let ops = ops(Pass::decode(1, 7));
    let query = the(&ops, Kind::Linear(Role::Query));
    assert_eq!((query.count, query.operations, query.bytes.weights), (2, 2048.0, 4096.0));
    // Input and output of 32 floats.
    assert_eq!(query.bytes.activations, 256.0);
    let down = the(&ops, Kind::Linear(Role::Down));
    assert_eq!((down.count, down.operations, down.bytes.weights), (2, 4096.0, 8192.0));
    // Eight keys, itself among them, for four heads of eight elements; four operations more for each score.
    let scores = the(&ops, Kind::Scores);
    assert_eq!((scores.count, scores.operations), (2, 512.0 + 128.0));
    // Eight keys of two heads of eight elements in two bytes.
    assert_eq!(scores.bytes.kv_read, 256.0);
    let values = the(&ops, Kind::Mix);
    assert_eq!((values.operations, values.bytes.kv_read), (512.0, 256.0));
    assert_eq!(the(&ops, Kind::Append).bytes.kv_written, 64.0);
    let head = the(&ops, Kind::Linear(Role::Head));
    assert_eq!((head.count, head.operations), (1, 2.0 * 32.0 * 259.0));
    // Two norms a block and the last one.
    assert_eq!(the(&ops, Kind::Norm).count, 5);
    // Weights are floats: they are not multiplied as integers, whatever was asked for.
    assert_eq!(head.numbers, Numbers::F32);
}

#[test]
fn a_token_reads_every_matrix_once_and_a_row_of_the_embeddings() {
    let (linears, file_bytes) = tiny();
    let layers: usize = linears.layers.iter().map(|layer| layer.bytes).sum();
    let row = 32.0 * 4.0;
    assert_eq!(weight_bytes(&ops(Pass::decode(1, 7))), layers as f64 + row);
    assert_eq!(weight_bytes(&ops(Pass::decode(3, 7))), layers as f64 + 3.0 * row);
    // All tensors of the file but the five norms; the head is the embeddings and counts once.
    assert!(linears.tied);
    assert_eq!(matrix_bytes(&linears) + 5 * 32 * 4, file_bytes);
}

#[test]
fn of_a_prompt_only_the_last_token_goes_through_the_last_block() {
    let ops = ops(Pass::prefill(1, 4));
    assert_eq!(the(&ops, Kind::Linear(Role::Key)).count, 2);
    let rows = |kind| -> Vec<(usize, usize)> {
        ops.iter().filter(|op| op.kind == kind).map(|op| (op.rows, op.count)).collect()
    };
    for role in [Role::Query, Role::Output, Role::Gate, Role::Up, Role::Down] {
        assert_eq!(rows(Kind::Linear(role)), [(4, 1), (1, 1)], "{role:?}");
    }
    assert_eq!(rows(Kind::Linear(Role::Head)), [(1, 1)]);
    // 1 + 2 + 3 + 4 keys for the tokens of the first block, four for the last token.
    let scores: Vec<f64> = ops.iter().filter(|op| op.kind == Kind::Mix).map(|op| op.operations).collect();
    assert_eq!(scores, [2.0 * 10.0 * 32.0, 2.0 * 4.0 * 32.0]);
}

#[test]
fn a_long_prompt_reads_weights_once_for_each_batch() {
    let pass = Pass { at_once: 100, ..Pass::prefill(1, 250) };
    let ops = ops(pass);
    let key = the(&ops, Kind::Linear(Role::Key));
    assert_eq!((key.rows, key.batches, key.bytes.weights), (250, 3, 3.0 * 2048.0));
}

#[test]
fn an_empty_pass_is_refused() {
    let error = trace(&tiny().0, &Pass::decode(0, 7), Precision::F16, 16.0).unwrap_err();
    assert!(error.to_string().contains("at least one sequence"), "{error}");
}

#[test]
fn a_shape_has_the_layers_that_a_file_of_it_has() {
    let (mut linears, _) = tiny();
    let mut made = of_shape(&linears.spec, &WeightSpec::parse("f32").unwrap()).unwrap();
    for layers in [&mut linears.layers, &mut made.layers] {
        layers.sort_by_key(|layer| layer.id);
    }
    assert_eq!(made.layers, linears.layers);
    assert_eq!(made.embedding, linears.embedding);
}

#[test]
fn other_formats_change_bytes_and_numbers_and_must_fit_the_rows() {
    let (mut linears, _) = tiny();
    let spec = |label| Some(WeightSpec::parse(label).unwrap());
    Formats { blocks: spec("int4-sym-g32"), head: spec("f16") }.apply(&mut linears).unwrap();
    let ops = trace(&linears, &Pass::decode(1, 7), Precision::Int16, 4.5).unwrap();
    // 1024 codes of half a byte, and 32 scales of two bytes.
    let query = the(&ops, Kind::Linear(Role::Query));
    assert_eq!((query.bytes.weights, query.numbers), (512.0 + 64.0, Numbers::Int8 { terms: 2 }));
    assert_eq!(the(&ops, Kind::Linear(Role::Head)).bytes.weights, 32.0 * 259.0 * 2.0);
    assert_eq!(the(&ops, Kind::Scores).bytes.kv_read, 8.0 * 16.0 * 4.5 / 8.0);
    let wrong = Formats { blocks: spec("q4_k"), head: None }.apply(&mut linears).unwrap_err().to_string();
    assert!(wrong.contains("q4_k") && wrong.contains("256"), "{wrong}");
}
