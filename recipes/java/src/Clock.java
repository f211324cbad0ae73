import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/**
 * A page that tells for how long the virtual machine has been up. {@code GET /health} says that it serves. The
 * environment's {@code PORT} is the port, 8080 where it is not set.
 */
public final class Clock {
    private Clock() {}

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
        server.createContext("/health", exchange -> answer(exchange, 200, "text/plain", "healthy\n"));
        server.createContext("/", Clock::root);
        server.start();
        System.out.println("clock: serving on port " + port);
    }

    private static void root(HttpExchange exchange) throws IOException {
        if (exchange.getRequestURI().getPath().equals("/")) {
            answer(exchange, 200, "text/html", page());
        } else {
            answer(exchange, 404, "text/plain", "no such page\n");
        }
    }

    private static String page() {
        double seconds = ManagementFactory.getRuntimeMXBean().getUptime() / 1000.0;
        return "<!doctype html>\n<title>Up</title>\n<h1>Up for " + seconds + " s</h1>\n<p>Java "
            + System.getProperty("java.version") + ", user " + System.getProperty("user.name") + ".</p>\n";
    }

    private static void answer(HttpExchange exchange, int status, String kind, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", kind + "; charset=utf-8");
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
