//! A language model that answers at an address, in OpenAI's protocol for chats.

/// Where it answers, and which model it is.
pub struct Endpoint {
    url: String,
    model: String,
    #[cfg(feature = "hub")]
    agent: ureq::Agent,
}

impl Endpoint {
    /// Where the model answers and what it is called.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.url, self.model)
    }

    /// What it is called.
    pub fn model(&self) -> &str {
        &self.model
    }
}

#[cfg(feature = "hub")]
mod client {
    use super::Endpoint;
    use anyhow::{Context, Result, bail, ensure};
    use serde_json::{Value, json};
    use std::time::Duration;
    use ureq::{Agent, Body};

    /// Of an answer that is no JSON so much is shown.
    const SHOWN: usize = 200;

    impl Endpoint {
        /// Knows where to ask; asks for the name of the first model where none is given.
        ///
        /// # Errors
        /// It is no address, or nobody answers there.
        pub fn new(url: &str, model: Option<&str>, patience: u64) -> Result<Self> {
            let fits = url.starts_with("http://") || url.starts_with("https://");
            ensure!(fits, "--endpoint: found {url:?}; accepted: an address such as http://localhost:8080/v1");
            let authority = url.split('/').nth(2).unwrap_or_default();
            ensure!(
                !authority.contains('@'),
                "--endpoint: a name or password in the address would stand in reports; accepted: an address without"
            );
            let config = Agent::config_builder()
                .http_status_as_error(false)
                // Contexts are sent where the command says and nowhere else.
                .max_redirects(0)
                .proxy(None)
                .timeout_global(Some(Duration::from_secs(patience)));
            let agent: Agent = config.build().into();
            let mut endpoint = Endpoint { url: url.trim_end_matches('/').to_owned(), model: String::new(), agent };
            endpoint.model = match model {
                Some(model) => model.to_owned(),
                None => endpoint.first_model()?,
            };
            Ok(endpoint)
        }

        fn first_model(&self) -> Result<String> {
            let place = format!("{}/models", self.url);
            let answer = self.agent.get(&place).call().with_context(|| format!("cannot reach {place}"))?;
            let said = json_of(answer, &place)?;
            let name = said.pointer("/data/0/id").and_then(Value::as_str);
            name.map(str::to_owned).with_context(|| format!("{place} lists no model; accepted: --endpoint-model NAME"))
        }

        /// Asks one question; the answer's text.
        ///
        /// # Errors
        /// Nobody answers, or not with a text.
        pub fn ask(&self, question: &str) -> Result<String> {
            let place = format!("{}/chat/completions", self.url);
            let body = json!({
                "model": self.model,
                "messages": [{ "role": "user", "content": question }],
                "temperature": 0,
                "stream": false,
            });
            let sent = self.agent.post(&place).header("Content-Type", "application/json").send(body.to_string());
            let said = json_of(sent.with_context(|| format!("cannot reach {place}"))?, &place)?;
            let text = said.pointer("/choices/0/message/content").and_then(Value::as_str);
            text.map(str::to_owned).with_context(|| {
                format!("{place}: choices[0].message.content: found {}; accepted: a text", cut(&said.to_string()))
            })
        }
    }

    fn json_of(mut answer: ureq::http::Response<Body>, place: &str) -> Result<Value> {
        let status = answer.status();
        let text = answer.body_mut().read_to_string().with_context(|| format!("{place}: the answer"))?;
        if !status.is_success() {
            bail!("{place} answered {status}: {}", cut(&text));
        }
        serde_json::from_str(&text).with_context(|| format!("{place}: found {}; accepted: JSON", cut(&text)))
    }

    fn cut(text: &str) -> String {
        text.chars().take(SHOWN).collect()
    }
}

#[cfg(not(feature = "hub"))]
impl Endpoint {
    /// # Errors
    /// Always: this build has no network.
    pub fn new(_: &str, _: Option<&str>, _: u64) -> anyhow::Result<Self> {
        anyhow::bail!("this build asks nobody over a network: it was made without the feature hub")
    }

    /// # Errors
    /// Always.
    pub fn ask(&self, _: &str) -> anyhow::Result<String> {
        anyhow::bail!("this build asks nobody over a network")
    }
}
