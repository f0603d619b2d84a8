//! What is answered to whom: methods, tokens, and the way into the tree.

use crate::answer::{Answer, Reply, Status};
use crate::document::document;
use crate::facts::Facts;
use crate::options::MetadataOptions;
use crate::request::Request;
use crate::signer::{Signatures, Signer};
use crate::token::{Tokens, asked};
use crate::tree::{Form, Found, Leaf, Tree};
use crate::version;
use std::time::{Duration, Instant, SystemTime};

/// What the owner's clocks say.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For dates.
    pub wall: SystemTime,
    /// For tokens, whose time nobody can set.
    pub instant: Instant,
}

impl Now {
    /// This computer's clocks.
    #[must_use]
    pub fn read() -> Now {
        Now { wall: SystemTime::now(), instant: Instant::now() }
    }
}

/// Who signs the identity document.
#[derive(Debug)]
enum Signing {
    Nobody,
    Here(Box<Signer>),
    /// The owner, which tells when it has.
    Elsewhere,
}

/// The service of one instance.
#[derive(Debug)]
pub struct Service {
    facts: Facts,
    options: MetadataOptions,
    tree: Tree,
    signing: Signing,
    /// What was signed since the document changed.
    signed: Vec<(Form, String)>,
    tokens: Tokens,
    began: Instant,
    /// When the facts changed last.
    modified: SystemTime,
}

impl Service {
    /// `secret`: random bytes, so that nobody else can make this service's tokens. Without a signer there are no
    /// signatures of the identity document.
    #[must_use]
    pub fn new(
        facts: Facts,
        options: MetadataOptions,
        secret: [u8; 32],
        signer: Option<Signer>,
        now: Now,
    ) -> Service {
        let tree = Tree::new(&facts, &options, document(&facts), signer.is_some());
        let (signed, tokens) = (Vec::new(), Tokens::new(secret));
        let signing = signer.map_or(Signing::Nobody, |signer| Signing::Here(Box::new(signer)));
        Service { facts, options, tree, signing, signed, tokens, began: now.instant, modified: now.wall }
    }

    /// The owner signs, so that no answer waits for it: signatures are unavailable until [`Service::signed`].
    #[must_use]
    pub fn signed_elsewhere(mut self) -> Service {
        self.signing = Signing::Elsewhere;
        self.tree = Tree::new(&self.facts, &self.options, document(&self.facts), true);
        self
    }

    /// What is to be signed.
    #[must_use]
    pub fn document(&self) -> String {
        document(&self.facts)
    }

    /// Takes what the owner has signed.
    pub fn signed(&mut self, signatures: Signatures) {
        self.signed = signatures.0;
    }

    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    #[must_use]
    pub fn options(&self) -> MetadataOptions {
        self.options
    }

    /// Something has happened to the instance. Tokens stay good.
    pub fn set(&mut self, facts: Facts, options: MetadataOptions, now: Now) {
        let (old, new) = (document(&self.facts), document(&facts));
        if old != new {
            self.signed.clear();
        }
        self.tree = Tree::new(&facts, &options, new, !matches!(self.signing, Signing::Nobody));
        (self.facts, self.options, self.modified) = (facts, options, now.wall);
    }

    pub(crate) fn answer(&mut self, request: &Request, now: Now) -> Answer {
        self.reply(request, now).write(now, request.method == "HEAD", request.keeps)
    }

    fn reply(&mut self, request: &Request, now: Now) -> Reply {
        if !self.options.endpoint {
            return Reply::error(Status::Forbidden);
        }
        if request.expects {
            return Reply::error(Status::ExpectationFailed);
        }
        let age = now.instant.saturating_duration_since(self.began);
        match request.method.as_str() {
            "PUT" if request.for_token => self.give_token(request, age),
            "PUT" => Reply::error(Status::Forbidden),
            _ if request.for_token => Reply::not_allowed("OPTIONS, PUT"),
            "GET" | "HEAD" => self.look_up(request, age),
            _ => Reply::not_allowed("GET, HEAD"),
        }
    }

    fn give_token(&mut self, request: &Request, age: Duration) -> Reply {
        if request.forwarded {
            return Reply::error(Status::Forbidden);
        }
        let Some(lifetime) = request.lifetime.as_deref().and_then(asked) else {
            return Reply::error(Status::BadRequest);
        };
        let token = self.tokens.give(lifetime, age);
        Reply::token(token, self.options.hop_limit).with(Some(lifetime))
    }

    fn look_up(&mut self, request: &Request, age: Duration) -> Reply {
        let lifetime = match &request.token {
            Some(_) if request.forwarded => return Reply::error(Status::Forbidden),
            Some(token) => self.tokens.lifetime(token, age),
            None => None,
        };
        if lifetime.is_none() && (request.token.is_some() || self.options.tokens_required) {
            return Reply::error(Status::Unauthorized);
        }
        self.find(&request.path).with(lifetime)
    }

    fn find(&mut self, path: &[String]) -> Reply {
        let Some((name, path)) = path.split_first() else {
            return Reply::found(version::listing(), self.modified);
        };
        let found = version::find(name).and_then(|version| self.tree.find(path, version));
        let form = match found {
            None => return Reply::error(Status::NotFound),
            Some(Found::Listing(listing)) => return Reply::found(listing, self.modified),
            Some(Found::Leaf(Leaf::Text(text))) => return Reply::found(text.as_str(), self.modified),
            Some(Found::Leaf(Leaf::UserData)) => {
                return Reply::user_data(self.facts.user_data.as_deref().unwrap_or_default(), self.modified);
            }
            Some(Found::Leaf(&Leaf::Signed(form))) => form,
        };
        match self.sign(form) {
            Ok(signed) => Reply::found(signed, self.modified),
            Err(status) => Reply::error(status),
        }
    }

    /// The document's signature, which is made once.
    fn sign(&mut self, form: Form) -> Result<String, Status> {
        if let Some((_, signed)) = self.signed.iter().find(|(known, _)| *known == form) {
            return Ok(signed.clone());
        }
        let Signing::Here(signer) = &self.signing else { return Err(Status::Unavailable) };
        let signed = signer.sign(document(&self.facts).as_bytes(), form);
        let signed = signed.map_err(|_| Status::InternalError)?;
        self.signed.push((form, signed.clone()));
        Ok(signed)
    }
}
