//! Large files in bounded memory: the file is made up as it is read, so that the process holds nothing but the graph.
//!
//! `MECHSCOPE_LARGE` sets the size in MB (500 takes some seconds). In a test program of its own: peak memory is the process's.

use std::io::Read;

use mechscope::graph::format::json::{DEFAULT_MEMORY, read};

const NODES: usize = 12_000;

/// A graph in circuit-tracer's indented form, of about `size` bytes.
struct Made {
    size: usize,
    given: usize,
    links: usize,
    part: Vec<u8>,
    at: usize,
    state: State,
}

enum State {
    Nodes,
    Links,
    Done,
}

fn id(i: usize) -> String {
    format!("{}_{}_{}", i * 26 / NODES, 7 * i + 3, i % 2)
}

impl Made {
    fn next(&mut self) -> Vec<u8> {
        match self.state {
            State::Nodes => {
                self.state = State::Links;
                let nodes: Vec<String> = (0..NODES)
                    .map(|i| {
                        format!(
                            "  {{\n   \"node_id\": \"{}\",\n   \"feature\": 5,\n   \"layer\": \"{}\",\n   \"ctx_idx\": {},\n   \"feature_type\": \"cross layer transcoder\",\n   \"run_idx\": 0,\n   \"jsNodeId\": \"x\",\n   \"clerp\": \"\",\n   \"influence\": 0.5,\n   \"activation\": 1.25\n  }}",
                            id(i),
                            i * 26 / NODES,
                            i % 2
                        )
                    })
                    .collect();
                format!("{{\n \"qParams\": {{}},\n \"nodes\": [\n{}\n ],\n \"links\": [\n", nodes.join(",\n"))
                    .into_bytes()
            }
            State::Links if self.given < self.size => {
                // Each pair of target and source once: the target moves on when all its sources had their turn.
                let mut part = String::new();
                for _ in 0..1000 {
                    let comma = if self.links == 0 { "" } else { ",\n" };
                    let (target, source) = (1 + self.links % (NODES - 1), self.links / (NODES - 1));
                    let source = (target + source) % NODES;
                    part.push_str(&format!(
                        "{comma}  {{\n   \"source\": \"{}\",\n   \"target\": \"{}\",\n   \"weight\": 0.{}\n  }}",
                        id(if source == target { 0 } else { source }),
                        id(target),
                        1 + self.links % 99_991
                    ));
                    self.links += 1;
                }
                part.into_bytes()
            }
            State::Links => {
                self.state = State::Done;
                b"\n ]\n}\n".to_vec()
            }
            State::Done => Vec::new(),
        }
    }
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.part.len() {
            self.part = self.next();
            self.at = 0;
        }
        let n = buffer.len().min(self.part.len() - self.at);
        buffer[..n].copy_from_slice(&self.part[self.at..self.at + n]);
        self.at += n;
        self.given += n;
        Ok(n)
    }
}

/// Most memory this process ever had, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_file_takes_less_memory_than_its_size() {
    let megabytes: usize = std::env::var("MECHSCOPE_LARGE").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let size = megabytes * 1_000_000;
    let mut made = Made { size, given: 0, links: 0, part: Vec::new(), at: 0, state: State::Nodes };
    let before = peak();
    let start = std::time::Instant::now();
    let opened = read(&mut made, DEFAULT_MEMORY).unwrap();
    let taken = peak() - before;
    eprintln!(
        "{} MB, {} links: {} MB of memory, {:.1?}",
        made.given / 1_000_000,
        opened.graph.edges.len(),
        taken / 1_000_000,
        start.elapsed()
    );
    assert_eq!(opened.graph.edges.len() + opened.form.repeated_links, made.links);
    assert!(taken < size as u64, "{taken} bytes for a file of {size}");
    assert!(taken < 1 << 30);
}
