//! Servers that are none, or hostile: each gives an error that says what happened, soon, and nothing else.
use tokio::net::TcpListener;

use super::*;

/// Serves one connection: each request is answered by the next of `answers`, as raw bytes; then the connection is closed.
async fn server(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        for answer in answers {
            let length = stream.read_u32().await.expect("a request");
            let mut request = vec![0; length as usize];
            stream
                .read_exact(&mut request)
                .await
                .expect("the whole request");
            stream.write_all(&answer).await.expect("an answer");
        }
        stream.flush().await.expect("all of it");
    });
    address
}

/// An answer frame to the first request of a connection.
fn answer(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 4).to_be_bytes().to_vec();
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(body);
    out
}

async fn opened_to(answers: Vec<Vec<u8>>) -> Result<Connection> {
    let address = server(answers).await;
    Connection::open(&address, "test", Duration::from_millis(500)).await
}

#[tokio::test]
async fn answers_that_are_none_are_errors() {
    let hostile: [(&str, Vec<u8>); 7] = [
        ("nothing", vec![]),
        ("words", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("a length of 2 GiB", b"\x7f\xff\xff\xff\0\0\0\x01".to_vec()),
        ("a length of 0", b"\0\0\0\0".to_vec()),
        (
            "an answer to another request",
            b"\0\0\0\x06\0\0\0\x63\0\0".to_vec(),
        ),
        ("an answer without a body", answer(b"")),
        ("an answer that ends early", answer(b"\0\0\x05\0\x01")),
    ];
    for (what, bytes) in hostile {
        let error = opened_to(vec![bytes]).await.err();
        let told = error
            .map(|e| e.to_string())
            .unwrap_or_else(|| panic!("{what} is taken for an answer"));
        assert!(told.contains("127.0.0.1:"), "{what}: {told}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    let error = Connection::open(&address, "test", Duration::from_millis(50))
        .await
        .err();
    assert!(matches!(error, Some(Error::Timeout { .. })), "{error:?}");
}

#[tokio::test]
async fn an_older_server_is_asked_for_what_it_knows() {
    // Error 35, one API: ApiVersions 0 to 2 (KIP-511).
    let old = answer(b"\0\x23\0\0\0\x01\0\x12\0\0\0\x02");
    let connection = opened_to(vec![old])
        .await
        .expect("the versions of an old server");
    assert_eq!(
        connection
            .version_of::<ApiVersionsRequest>()
            .expect("both speak it"),
        2
    );
    let unknown = connection
        .version_of::<kafka_protocol::messages::FetchRequest>()
        .expect_err("it does not");
    assert!(
        unknown.to_string().contains("does not support Fetch"),
        "{unknown}"
    );
}

#[test]
fn an_address_that_is_in_use_by_no_one_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let error = runtime
        .block_on(Connection::open(
            "127.0.0.1:1",
            "test",
            Duration::from_secs(1),
        ))
        .err();
    assert!(error.is_some_and(|e| e.to_string().contains("cannot connect to 127.0.0.1:1")));
}
