// An HTTP client of Java.  Arguments: name, address, port, kind: `java` or `java-download`.
// It prints and obeys what workload.py describes.  Run as a single source file.
import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.ConcurrentLinkedQueue;

class Client {
    static final long OP_MS = 50, STEP_EVERY_MS = 200;
    static final ConcurrentLinkedQueue<String> orders = new ConcurrentLinkedQueue<>();
    static long steps = 0, printed = 0;

    static void emit(String event) {
        System.out.println(event);
        System.out.flush();
    }

    static void step() {
        steps++;
        long now = System.currentTimeMillis();
        if (now - printed >= STEP_EVERY_MS) {
            printed = now;
            emit("{\"step\": " + steps + "}");
        }
    }

    static void op(long begin) {
        long now = System.currentTimeMillis();
        if (now - begin >= OP_MS) emit("{\"op\": [" + begin + ", " + now + "]}");
    }

    static void idle() throws InterruptedException {
        String order = orders.poll();
        if (order == null || !order.startsWith("idle ")) return;
        emit("{\"fault\": \"idle\", \"at\": " + System.currentTimeMillis() + "}");
        Thread.sleep((long) (Double.parseDouble(order.split(" ")[1]) * 1000));
        emit("{\"healed\": \"idle\", \"at\": " + System.currentTimeMillis() + "}");
    }

    public static void main(String[] words) throws Exception {
        Thread reader = new Thread(() -> {
            try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
                for (String line; (line = lines.readLine()) != null;) orders.add(line);
            } catch (java.io.IOException error) {
                System.err.println(error);
            }
            System.exit(0);
        });
        reader.setDaemon(true);
        reader.start();
        boolean download = words[3].equals("java-download");
        String path = download ? "/stream" : "/work";
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + words[1] + ":" + words[2] + path))
            .header("X-Client", words[0]).build();
        byte[] data = new byte[65536];
        emit("{\"ready\": true}");
        while (true) {
            idle();
            Thread.sleep(20 + (long) (Math.random() * 80));
            try {
                long begin = System.currentTimeMillis();
                InputStream body = client.send(request, HttpResponse.BodyHandlers.ofInputStream()).body();
                op(begin);
                while (true) {
                    begin = System.currentTimeMillis();
                    int count = body.read(data);
                    op(begin);
                    if (count < 0) break;
                    if (download) step();
                }
                step();
            } catch (java.io.IOException error) {
                Thread.sleep(200);
            }
        }
    }
}
