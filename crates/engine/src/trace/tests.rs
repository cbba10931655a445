use super::*;

fn place() -> Place {
    Place { trace: TraceId([0x0a; 16]), root: SpanId([1; 8]) }
}

#[test]
fn contexts_are_as_w3c_writes_them() {
    let context = place().context(SpanId([0, 0, 0, 0, 0, 0, 0, 0xff]));
    assert_eq!(context, format!("00-{}-00000000000000ff-01", "0a".repeat(16)));
}

#[test]
fn parts_of_a_build_have_spans_of_their_own_that_never_change() {
    let place = place();
    assert_eq!(place.span("1"), place.span("1"));
    assert_ne!(place.span("1"), place.span("2"));
    let own = place.span("1");
    let other = Place { trace: TraceId([2; 16]), ..place };
    assert_ne!(own, other.span("1"));
}
