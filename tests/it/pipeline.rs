//! Pipeline files: what is refused, with line and column.

use std::path::Path;

use caudal::pipeline::Bundle;

#[test]
fn civic_safety_is_planned() {
    let bundle = Bundle::read(Path::new("pipelines/civic_safety/pipeline.yaml")).unwrap();
    let pipeline = bundle.pipeline().unwrap();
    println!("{:#?}", pipeline.plan);
}
