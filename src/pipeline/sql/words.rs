//! From text to the parser's tree. SQL has hundreds of keywords, and events have fields that are called so: before the parser sees the words, those that
//! stand where no keyword of an expression can are made plain names.

use sqlparser::ast::Expr as Ast;
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::pipeline::sql::{NESTING_MAX, START, SqlFault, TEXT_BYTES_MAX};

/// The parser counts several of its own steps for one level of ours.
const PARSER_STEPS: usize = NESTING_MAX * 2;
const TOO_DEEP: &str = "the expression nests too deeply";

/// SQL as PostgreSQL reads it, as far as expressions go.
#[derive(Debug)]
struct Expressions;

impl Dialect for Expressions {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_' || c == '@'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || matches!(c, '_' | '$' | '@')
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"'
    }

    /// The words that are still keywords; otherwise whatever is wrong within a CASE would be told of its first word.
    fn is_reserved_for_identifier(&self, word: Keyword) -> bool {
        word != Keyword::NoKeyword
    }

    /// `EXTRACT(YEAR FROM …)` with a word that is no keyword any more.
    fn allow_extract_custom(&self) -> bool {
        true
    }

    /// `TRIM(text, characters)`
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    /// PostgreSQL's order: unlike the parser's own, comparisons bind less than BETWEEN, IN and LIKE.
    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            Precedence::Period => 200,
            Precedence::DoubleColon => 140,
            Precedence::AtTz => 110,
            Precedence::Caret => 100,
            Precedence::MulDivModOp => 90,
            Precedence::PlusMinus => 80,
            Precedence::Xor => 75,
            Precedence::Ampersand | Precedence::Pipe | Precedence::Colon | Precedence::PgOther => OTHER_OPERATORS,
            Precedence::Between | Precedence::Like => 60,
            Precedence::Eq => 50,
            Precedence::Is => 40,
            Precedence::UnaryNot => 30,
            Precedence::And => 20,
            Precedence::Or => 10,
        }
    }

    /// `||` binds less than `+`.
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        (parser.peek_token_ref().token == Token::StringConcat).then_some(Ok(OTHER_OPERATORS))
    }
}

const OTHER_OPERATORS: u8 = 70;

/// Reads one expression.
pub(super) fn parse(text: &str) -> Result<Ast, SqlFault> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the expression has {} bytes: at most {TEXT_BYTES_MAX} are allowed", text.len());
        return Err(SqlFault::at(START, message));
    }
    let tokens = Tokenizer::new(&Expressions, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| SqlFault::at(error.location, format!("no SQL: {}", error.message)))?;
    let tokens = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let tokens = plain_names(tokens)?;
    let end = tokens.last().map_or(START, |last| last.span.end);
    let mut parser = Parser::new(&Expressions).with_recursion_limit(PARSER_STEPS).with_tokens_with_locations(tokens);
    let ast = parser.parse_expr().map_err(|error| refused(error, &parser, end))?;
    let rest = parser.peek_token();
    if rest.token == Token::EOF {
        return Ok(ast);
    }
    let message = format!("the expression ends before `{rest}`: an operator is missing, or a name needs double quotes");
    Err(SqlFault::at(rest.span.start, message))
}

/// The parser's message, which ends with the place unless that is the end.
fn refused(error: ParserError, parser: &Parser, end: Location) -> SqlFault {
    let here = parser.peek_token().span.start;
    let here = if here.line == 0 { end } else { here };
    match error {
        ParserError::RecursionLimitExceeded => SqlFault::at(here, TOO_DEEP),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
            let (message, place) = split_place(&message);
            // Words of SQL are names wherever they can be; where one cannot, whoever meant a name should know what to do.
            let found_word = message.rsplit_once("found: ").is_some_and(|(_, found)| found != "EOF" && is_word(found));
            let quote = if found_word { "; a field that is called so stands in double quotes" } else { "" };
            let place = if message.ends_with("found: EOF") { end } else { place.unwrap_or(here) };
            SqlFault::at(place, format!("no SQL: {message}{quote}"))
        }
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(char::is_alphabetic) && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn split_place(message: &str) -> (&str, Option<Location>) {
    let split = || {
        let (before, place) = message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((before, Location { line: line.parse().ok()?, column: column.parse().ok()? }))
    };
    split().map_or((message, None), |(before, place)| (before, Some(place)))
}

/// An open parenthesis.
struct Open {
    /// The word before it.
    of: Keyword,
    /// How many CASEs are open in it.
    cases: usize,
    /// Whether the type of a CAST has begun.
    typed: bool,
}

/// Makes plain names of the words that are no keywords where they stand; refuses what no expression has.
fn plain_names(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, SqlFault> {
    let mut open = vec![Open { of: Keyword::NoKeyword, cases: 0, typed: false }];
    for at in 0..tokens.len() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at)).map(|token| token.token.clone());
        let after = tokens.get(at + 1).map(|token| token.token.clone());
        let Some(TokenWithSpan { token, span }) = tokens.get_mut(at) else { continue };
        match token {
            Token::LParen => {
                open.push(Open { of: keyword(before.as_ref()), cases: 0, typed: false });
                if open.len() > NESTING_MAX {
                    return Err(SqlFault::at(span.start, TOO_DEEP));
                }
            }
            Token::RParen if open.len() > 1 => drop(open.pop()),
            Token::Word(word) if word.quote_style.is_none() => {
                let Some(inner) = open.last_mut() else { continue };
                forbidden(word.keyword, before.as_ref(), after.as_ref())
                    .map_err(|message| SqlFault::at(span.start, message))?;
                if !stays(word.keyword, before.as_ref(), after.as_ref(), inner) {
                    word.keyword = Keyword::NoKeyword;
                }
            }
            _ => {}
        }
    }
    Ok(tokens)
}

fn keyword(token: Option<&Token>) -> Keyword {
    match token {
        Some(Token::Word(word)) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Parts of SQL that are more than an expression.
fn forbidden(word: Keyword, before: Option<&Token>, after: Option<&Token>) -> Result<(), &'static str> {
    let in_path = matches!(before, Some(Token::Period)) || matches!(after, Some(Token::Period | Token::LBracket));
    match word {
        Keyword::SELECT if !in_path && matches!(before, None | Some(Token::LParen)) && is_operand(after) => {
            Err("queries are not allowed: an expression looks at one event's fields")
        }
        Keyword::OVER if matches!(before, Some(Token::RParen)) => {
            Err("window functions are not allowed: an expression looks at one event's fields")
        }
        Keyword::FILTER | Keyword::WITHIN if matches!(before, Some(Token::RParen)) => {
            Err("FILTER and WITHIN GROUP are not allowed; CASE WHEN … THEN … END is null where no condition holds")
        }
        _ => Ok(()),
    }
}

fn is_operand(token: Option<&Token>) -> bool {
    matches!(
        token,
        Some(Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::Mul | Token::LParen)
    )
}

/// Whether this word is a keyword where it stands.
fn stays(word: Keyword, before: Option<&Token>, after: Option<&Token>, open: &mut Open) -> bool {
    if matches!(before, Some(Token::Period)) || matches!(after, Some(Token::Period | Token::LBracket)) {
        return false;
    }
    let called = matches!(after, Some(Token::LParen));
    match word {
        Keyword::AND
        | Keyword::OR
        | Keyword::NOT
        | Keyword::IS
        | Keyword::NULL
        | Keyword::TRUE
        | Keyword::FALSE
        | Keyword::BETWEEN
        | Keyword::IN
        | Keyword::LIKE
        | Keyword::ILIKE => true,
        Keyword::CASE => {
            open.cases += 1;
            true
        }
        Keyword::WHEN | Keyword::THEN | Keyword::ELSE => open.cases > 0,
        Keyword::END => {
            let ends = open.cases > 0;
            open.cases -= usize::from(ends);
            ends
        }
        Keyword::CAST | Keyword::EXTRACT | Keyword::SUBSTRING | Keyword::TRIM | Keyword::POSITION => called,
        Keyword::DISTINCT => {
            matches!(keyword(before), Keyword::IS | Keyword::NOT)
                || (matches!(before, Some(Token::LParen)) && is_operand(after) && !is_infix(after))
        }
        Keyword::ESCAPE => matches!(before, Some(Token::SingleQuotedString(_))),
        Keyword::UNKNOWN => matches!(keyword(before), Keyword::IS | Keyword::NOT),
        Keyword::FROM => {
            keyword(before) == Keyword::DISTINCT
                || matches!(open.of, Keyword::EXTRACT | Keyword::SUBSTRING | Keyword::TRIM)
        }
        Keyword::FOR => open.of == Keyword::SUBSTRING,
        Keyword::BOTH | Keyword::LEADING | Keyword::TRAILING => {
            open.of == Keyword::TRIM && matches!(before, Some(Token::LParen))
        }
        _ if open.typed => true,
        Keyword::AS => {
            open.typed = open.of == Keyword::CAST;
            open.typed
        }
        Keyword::TIMESTAMP if matches!(after, Some(Token::SingleQuotedString(_))) => true,
        _ => is_type_after(before),
    }
}

fn is_type_after(before: Option<&Token>) -> bool {
    // `::double precision`
    matches!(before, Some(Token::DoubleColon)) || keyword(before) == Keyword::DOUBLE
}

fn is_infix(token: Option<&Token>) -> bool {
    use Keyword::{AND, BETWEEN, ILIKE, IN, IS, LIKE, NOT, OR};
    matches!(keyword(token), AND | BETWEEN | ILIKE | IN | IS | LIKE | NOT | OR)
}
