# What the benchmark calls. Its Rust is checked in, as making it needs Cap'n Proto's own compiler.
@0xcb7ab6e2e16cc47c;

interface Calculator {
  add @0 (a :Int64, b :Int64) -> (sum :Int64);
  echo @1 (data :Data) -> (data :Data);
}
